// The functions that PyCUDA refers to and rtseg does not use: a call fails, where a missing one would end the process.
// Not in driver.cpp, where cuda.h would insist on their parameters.

#define NO(name)                                                                                                       \
    extern "C" int name() { return 801; /* CUDA_ERROR_NOT_SUPPORTED */ }

NO(cuArray3DCreate_v2) NO(cuArray3DGetDescriptor_v2) NO(cuArrayCreate_v2) NO(cuArrayDestroy)
NO(cuArrayGetDescriptor_v2) NO(cuCtxAttach) NO(cuCtxDisablePeerAccess) NO(cuCtxEnablePeerAccess)
NO(cuCtxGetCacheConfig) NO(cuCtxGetSharedMemConfig) NO(cuCtxSetCacheConfig) NO(cuCtxSetSharedMemConfig)
NO(cuDeviceCanAccessPeer) NO(cuDeviceGetByPCIBusId) NO(cuFuncSetBlockShape) NO(cuFuncSetSharedSize)
NO(cuIpcCloseMemHandle) NO(cuIpcGetEventHandle) NO(cuIpcGetMemHandle) NO(cuIpcOpenEventHandle)
NO(cuIpcOpenMemHandle_v2) NO(cuLaunch) NO(cuLaunchGrid) NO(cuLaunchGridAsync) NO(cuLinkAddData_v2)
NO(cuLinkAddFile_v2) NO(cuLinkComplete) NO(cuLinkCreate_v2) NO(cuLinkDestroy) NO(cuMemAllocManaged)
NO(cuMemcpy3DAsync_v2) NO(cuMemcpy3DPeer) NO(cuMemcpy3DPeerAsync) NO(cuMemcpy3D_v2) NO(cuMemcpyAtoA_v2)
NO(cuMemcpyAtoD_v2) NO(cuMemcpyAtoH_v2) NO(cuMemcpyDtoA_v2) NO(cuMemcpyHtoA_v2) NO(cuMemcpyPeer)
NO(cuMemcpyPeerAsync) NO(cuModuleGetGlobal_v2) NO(cuModuleGetSurfRef) NO(cuModuleGetTexRef) NO(cuParamSetSize)
NO(cuParamSetTexRef) NO(cuParamSetf) NO(cuParamSeti) NO(cuParamSetv) NO(cuProfilerInitialize) NO(cuProfilerStart)
NO(cuProfilerStop) NO(cuStreamAttachMemAsync) NO(cuSurfRefGetArray) NO(cuSurfRefSetArray) NO(cuTexRefCreate)
NO(cuTexRefDestroy) NO(cuTexRefGetAddressMode) NO(cuTexRefGetAddress_v2) NO(cuTexRefGetArray)
NO(cuTexRefGetFilterMode) NO(cuTexRefGetFlags) NO(cuTexRefGetFormat) NO(cuTexRefSetAddress2D_v3)
NO(cuTexRefSetAddressMode) NO(cuTexRefSetAddress_v2) NO(cuTexRefSetArray) NO(cuTexRefSetFilterMode)
NO(cuTexRefSetFlags) NO(cuTexRefSetFormat)

// NVRTC asks for these to find the driver's cache of compiled kernels, and does without.
NO(cuGetExportTable) NO(cuGetProcAddress_v2)

// Older names of two functions, for programs that were compiled for CUDA 12 or look them up by themselves.
extern "C" int cuEventElapsedTime_v2(float *, void *, void *);
extern "C" int cuEventElapsedTime(float *milliseconds, void *start, void *end)
{
    return cuEventElapsedTime_v2(milliseconds, start, end);
}

extern "C" int cuCtxCreate_v4(void *, void *, unsigned, int);
extern "C" int cuCtxCreate_v2(void *context, unsigned flags, int device)
{
    return cuCtxCreate_v4(context, nullptr, flags, device);
}
