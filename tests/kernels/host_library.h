// What makes a library of kernels that were compiled for the CPU. A file includes host.h, its kernels and this, and then
// defines KERNELS, which ends with an empty entry.

struct Kernel {
    const char *name;
    int size;  // of its parameter
    void (*run)(const void *);
};

#define KERNEL(name, type)                                                                                             \
    {                                                                                                                  \
#name, (int)sizeof(type), [](const void *p) { name(*(const type *)p); }                                        \
    }

namespace {
extern const Kernel KERNELS[];
}

static const Kernel *find(const char *name)
{
    for (const Kernel *kernel = KERNELS; kernel->name; kernel++)
        if (!strcmp(kernel->name, name))
            return kernel;
    return 0;
}

// The size of a kernel's parameter; -1 where there is no such kernel.
extern "C" int host_size(const char *name) { return find(name) ? find(name)->size : -1; }

// 0, or 1 where the threads of a block did not meet at a barrier.
extern "C" int host_launch(const char *name, const void *parameters, const unsigned *grid, unsigned threads,
    int backwards)
{
    fibers::prepare(threads);
    fibers::busy = true;
    fibers::body = find(name)->run;
    fibers::parameters = parameters;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {threads, 1, 1};
    for (unsigned z = 0; z < grid[2]; z++)
        for (unsigned y = 0; y < grid[1]; y++)
            for (unsigned x = 0; x < grid[0]; x++) {
                blockIdx = {x, y, z};
                if (!fibers::run_block(threads, backwards))
                    return 1;
            }
    fibers::busy = false;
    return 0;
}
