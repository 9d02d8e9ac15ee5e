// network.cu as a library for the CPU.

#include "../kernels/host.h"

#include "network.cu"

#include "../kernels/host_library.h"

namespace {
const Kernel KERNELS[] = {KERNEL(block_linear, BlockLinear), {}};
}
