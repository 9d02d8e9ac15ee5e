// An NVIDIA driver without a GPU: the functions of libcuda.so.1 that rtseg and PyCUDA call, on the CPU.
//
// Streams are threads, so a missing wait shows; kernels are those of kernels.cu, compiled by g++ (tests/kernels/host.h).
// Where a program could rely on what a real driver does, or get it wrong, the emulator does the same, and where drivers
// promise nothing it is the stricter one. One file for the compiler: the parts take several times as long one by one.

#include "context.cpp"
#include "control.cpp"
#include "copies.cpp"
#include "graphs.cpp"
#include "memory.cpp"
#include "modules.cpp"
#include "streams.cpp"
