// kernels.cu as a library for the CPU: its kernels by name.

#include "host.h"

#include "../../rtseg/kernels/kernels.cu"

struct Kernel {
    const char *name;
    int size;  // of its parameter
    void (*run)(const void *);
};

#define KERNEL(name, type)                                                                                             \
    {                                                                                                                  \
#name, (int)sizeof(type), [](const void *p) { name(*(const type *)p); }                                        \
    }

static const Kernel KERNELS[] = {
    KERNEL(preprocess_bgr8, Preprocess), KERNEL(preprocess_rgb8, Preprocess), KERNEL(preprocess_bgra8, Preprocess),
    KERNEL(preprocess_mono8, Preprocess), KERNEL(preprocess_nv12, Preprocess), KERNEL(label_tiles_f32, Labels),
    KERNEL(label_tiles_f16, Labels), KERNEL(label_pixels_f32, Labels), KERNEL(label_pixels_f16, Labels),
    KERNEL(upsample_labels, Nearest), KERNEL(paint_labels, Paint), KERNEL(draw_wide_contours, Paint),
    KERNEL(count_areas, Areas), KERNEL(clear_areas, Areas),
};

static const Kernel *find(const char *name)
{
    for (const Kernel &kernel : KERNELS)
        if (!strcmp(kernel.name, name))
            return &kernel;
    return 0;
}

// The size of a kernel's parameter; -1 where there is no such kernel.
extern "C" int host_size(const char *name) { return find(name) ? find(name)->size : -1; }

// 0, or 1 where the threads of a block did not meet at a barrier.
extern "C" int host_launch(const char *name, const void *parameters, const unsigned *grid, unsigned threads,
    int backwards)
{
    fibers::prepare(threads);
    fibers::body = find(name)->run;
    fibers::parameters = parameters;
    gridDim = {grid[0], grid[1], grid[2]};
    blockDim = {threads, 1, 1};
    for (unsigned y = 0; y < grid[1]; y++)
        for (unsigned x = 0; x < grid[0]; x++) {
            blockIdx = {x, y, 0};
            if (!fibers::run_block(threads, backwards))
                return 1;
        }
    return 0;
}
