// Enough of CUDA's built-ins to compile rtseg/kernels/kernels.cu for the CPU and run it as a GPU would.
//
// The threads of a block are fibers of one CPU thread: each runs until it reaches __syncthreads or its end, then the
// next one does. Blocks run one after the other. `run_block` takes the order of threads, forwards or backwards: a
// missing barrier shows as a result that depends on it.

#include <math.h>
#include <setjmp.h>
#include <string.h>
#include <ucontext.h>

#include <memory>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __grid_constant__
#define __launch_bounds__(...)
#define __align__(n) __attribute__((aligned(n)))
#define __shared__ static thread_local

struct dim3 {
    unsigned x, y, z;
};
struct alignas(8) uint2 {
    unsigned x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline uint2 make_uint2(unsigned x, unsigned y) { return {x, y}; }
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

static thread_local dim3 threadIdx, blockIdx, gridDim, blockDim;

static inline int min(int a, int b) { return a < b ? a : b; }
static inline int max(int a, int b) { return a > b ? a : b; }

// One operation each, and the compiler is told not to contract them.
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fdiv_rn(float a, float b) { return a / b; }
// The bytes that the selector's four lowest nibbles name, of those of low (0 to 3) and high (4 to 7).
static inline unsigned __byte_perm(unsigned low, unsigned high, unsigned selector)
{
    const unsigned long long both = (unsigned long long)high << 32 | low;
    unsigned result = 0;
    for (int i = 0; i < 4; i++)
        result |= (unsigned)(both >> 8 * (selector >> 4 * i & 7) & 255) << 8 * i;
    return result;
}

static inline int __ffs(int bits) { return __builtin_ffs(bits); }
static inline float __int_as_float(int bits)
{
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

// Atomic, as kernels of several streams may run at once.
static inline unsigned atomicAdd(unsigned *at, unsigned more) { return __atomic_fetch_add(at, more, __ATOMIC_RELAXED); }

static inline float half_to_float(unsigned short bits)
{
    _Float16 value;
    memcpy(&value, &bits, sizeof value);
    return (float)value;
}

static inline unsigned short float_to_half(float wide)
{
    _Float16 value = (_Float16)wide;
    unsigned short bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

namespace fibers {

const size_t STACK = 64 << 10;

struct Fiber {
    ucontext_t context;  // for its beginning
    jmp_buf place;       // where it goes on
    std::unique_ptr<char[]> stack;  // not filled, so that it costs only the memory that is used
    bool begun, done;
};

static thread_local jmp_buf scheduler;
static thread_local std::vector<Fiber> all;
static thread_local unsigned current;
static thread_local bool busy;  // a launch runs; at the beginning of one: the last was left in the middle
static thread_local void (*body)(const void *);
static thread_local const void *parameters;

// Jumps, as swapcontext makes two system calls each time.
__attribute__((noinline)) static void resume(Fiber &fiber)
{
    if (_setjmp(scheduler))
        return;
    if (fiber.begun)
        _longjmp(fiber.place, 1);
    fiber.begun = true;
    setcontext(&fiber.context);
}

__attribute__((noinline)) static void pause()
{
    if (!_setjmp(all[current].place))
        _longjmp(scheduler, 1);
}

static void live()
{
    for (;;) {
        body(parameters);
        all[current].done = true;
        pause();
    }
}

static void prepare(unsigned count)
{
    if (all.size() >= count && !busy)
        return;
    all = std::vector<Fiber>(count);
    for (Fiber &fiber : all) {
        fiber.stack.reset(new char[STACK]);
        fiber.begun = false;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.get();
        fiber.context.uc_stack.ss_size = STACK;
        makecontext(&fiber.context, live, 0);
    }
}

// Runs a block of `count` threads; false where some reached a barrier that others did not.
static bool run_block(unsigned count, bool backwards)
{
    for (unsigned i = 0; i < count; i++)
        all[i].done = false;
    for (unsigned finished = 0; finished < count;) {
        finished = 0;
        for (unsigned i = 0; i < count; i++) {
            current = backwards ? count - 1 - i : i;
            threadIdx = {current, 0, 0};
            resume(all[current]);
            finished += all[current].done;
        }
        if (finished != 0 && finished != count)
            return false;  // Some are in the middle of a kernel.
    }
    return true;
}

}  // namespace fibers

static inline void __syncthreads() { fibers::pause(); }
