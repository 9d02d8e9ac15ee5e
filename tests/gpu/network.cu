// A network for tests: one kernel that stands for a segmentation model. Each cell of its output is the mean of a square
// of the input's pixels, and a class's score is linear in that mean, so that NumPy can say what comes out, bit for bit.
//
// tests/gpu/network.py fills the struct. Arithmetic is written with intrinsics that are never contracted.

typedef unsigned short u16;

enum { FLOAT32 = 0, FLOAT16 = 1 };
enum { CHANNELS = 3, MOST_CLASSES = 32 };

#ifndef RTSEG_HOST
static __device__ __forceinline__ float half_to_float(u16 bits)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

static __device__ __forceinline__ u16 float_to_half(float value)
{
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

struct BlockLinear {
    const void *input;  // 1x3x height x width
    void *output;       // 1x classes x height / stride x width / stride
    int height, width, classes, stride;
    int input_type, output_type;
    float weights[MOST_CLASSES][CHANNELS], bias[MOST_CLASSES];
};

// One thread per cell.
extern "C" __global__ void __launch_bounds__(256) block_linear(const __grid_constant__ BlockLinear p)
{
    const int rows = p.height / p.stride, columns = p.width / p.stride;
    const int cell = (int)(blockIdx.x * blockDim.x + threadIdx.x);
    if (cell >= rows * columns)
        return;
    const int top = cell / columns * p.stride, left = cell % columns * p.stride;
    float means[CHANNELS];
    for (int channel = 0; channel < CHANNELS; channel++) {
        float sum = 0.0f;
        for (int y = top; y < top + p.stride; y++)
            for (int x = left; x < left + p.stride; x++) {
                const int at = (channel * p.height + y) * p.width + x;
                const float value = p.input_type == FLOAT16 ? half_to_float(((const u16 *)p.input)[at])
                                                            : ((const float *)p.input)[at];
                sum = __fadd_rn(sum, value);
            }
        means[channel] = __fdiv_rn(sum, (float)(p.stride * p.stride));
    }
    for (int k = 0; k < p.classes; k++) {
        float score = p.bias[k];
        for (int channel = 0; channel < CHANNELS; channel++)
            score = __fadd_rn(score, __fmul_rn(p.weights[k][channel], means[channel]));
        const int at = k * rows * columns + cell;
        if (p.output_type == FLOAT16)
            ((u16 *)p.output)[at] = float_to_half(score);
        else
            ((float *)p.output)[at] = score;
    }
}
