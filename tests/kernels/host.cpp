// kernels.cu as a library for the CPU.

#include "host.h"

#include "../../rtseg/kernels/kernels.cu"
#include "host_library.h"

namespace {
const Kernel KERNELS[] = {
    KERNEL(preprocess_bgr8, Preprocess), KERNEL(preprocess_rgb8, Preprocess), KERNEL(preprocess_bgra8, Preprocess),
    KERNEL(preprocess_mono8, Preprocess), KERNEL(preprocess_nv12, Preprocess), KERNEL(label_tiles_f32, Labels),
    KERNEL(label_tiles_f16, Labels), KERNEL(label_pixels_f32, Labels), KERNEL(label_pixels_f16, Labels),
    KERNEL(upsample_labels, Nearest), KERNEL(paint_labels, Paint), KERNEL(draw_wide_contours, Paint),
    KERNEL(count_areas, Areas), KERNEL(clear_areas, Areas), {},
};
}
