// Initialisation, the one device, contexts, errors.

#include "driver.h"

static thread_local std::vector<CUcontext> stack;

State &state()
{
    static State *only = new State;
    return *only;
}

CUcontext current() { return stack.empty() ? nullptr : stack.back(); }

CUresult ready()
{
    State &s = state();
    if (!s.initialised)
        return CUDA_ERROR_NOT_INITIALIZED;
    if (stack.empty())
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!s.contexts.count(stack.back()))
        return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    return s.sticky;
}

CUresult fail(CUresult code, const std::string &what)
{
    State &s = state();
    if (!s.sticky) {
        s.sticky = code;
        s.fault = what;
    }
    return code;
}

int attribute(int which)
{
    static const std::map<int, int> usual = {
        {1, 1024}, {2, 1024}, {3, 1024}, {4, 64},              // threads of a block, in all and by dimension
        {5, 0x7fffffff}, {6, 65535}, {7, 65535},               // blocks of a grid
        {8, 49152}, {9, 65536}, {10, 32}, {11, 0x7fffffff},    // shared and constant memory, warp, pitch
        {12, 65536}, {13, 1500000}, {14, 512}, {15, 1},        // registers, clock, alignment, overlap of copies
        {16, 4}, {19, 1}, {31, 1}, {39, 2048}, {40, 2},        // multiprocessors, mapped memory, concurrency
        {41, 1}, {75, 9}, {76, 0}, {81, 49152}, {82, 65536},   // unified addresses, compute capability
    };
    const auto &changed = state().settings.attributes;
    if (changed.count(which))
        return changed.at(which);
    return usual.count(which) ? usual.at(which) : 0;
}

// The name and the sentence of an error.
static const std::map<int, std::pair<const char *, const char *>> ERRORS = {
    {0, {"CUDA_SUCCESS", "no error"}},
    {1, {"CUDA_ERROR_INVALID_VALUE", "invalid argument"}},
    {2, {"CUDA_ERROR_OUT_OF_MEMORY", "out of memory"}},
    {3, {"CUDA_ERROR_NOT_INITIALIZED", "initialization error"}},
    {101, {"CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"}},
    {200, {"CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"}},
    {201, {"CUDA_ERROR_INVALID_CONTEXT", "invalid device context"}},
    {209, {"CUDA_ERROR_NO_BINARY_FOR_GPU", "no kernel image is available for execution on the device"}},
    {301, {"CUDA_ERROR_FILE_NOT_FOUND", "file not found"}},
    {400, {"CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"}},
    {500, {"CUDA_ERROR_NOT_FOUND", "named symbol not found"}},
    {600, {"CUDA_ERROR_NOT_READY", "device not ready"}},
    {700, {"CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"}},
    {701, {"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"}},
    {709, {"CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"}},
    {712, {"CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", "part or all of the requested memory range is already mapped"}},
    {713, {"CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", "pointer does not correspond to a registered memory region"}},
    {719, {"CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"}},
    {801, {"CUDA_ERROR_NOT_SUPPORTED", "operation not supported"}},
    {900, {"CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"}},
    {901, {"CUDA_ERROR_STREAM_CAPTURE_INVALIDATED",
              "operation failed due to a previous error during capture"}},
    {902, {"CUDA_ERROR_STREAM_CAPTURE_MERGE", "operation would result in a merge of separate capture sequences"}},
    {903, {"CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not ended in the same stream as it began"}},
    {904, {"CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"}},
    {905, {"CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"}},
    {906, {"CUDA_ERROR_STREAM_CAPTURE_IMPLICIT", "operation would make the legacy stream depend on a capturing blocking stream"}},
    {907, {"CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"}},
    {908, {"CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD", "attempt to terminate a thread-local capture sequence from another thread"}},
};

API cuGetErrorName(CUresult error, const char **text)
{
    const auto found = ERRORS.find(error);
    *text = found == ERRORS.end() ? nullptr : found->second.first;
    return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API cuGetErrorString(CUresult error, const char **text)
{
    const auto found = ERRORS.find(error);
    *text = found == ERRORS.end() ? nullptr : found->second.second;
    return *text ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

API cuInit(unsigned flags)
{
    Guard guard(state().lock);
    state().initialised = true;
    return flags ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

API cuDriverGetVersion(int *version)
{
    *version = 13000;
    return CUDA_SUCCESS;
}

// What calls about the device begin with; they need no context.
static CUresult known(CUdevice device)
{
    return !state().initialised ? CUDA_ERROR_NOT_INITIALIZED : device ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

API cuDeviceGetCount(int *count)
{
    Guard guard(state().lock);
    *count = 1;
    return known(0);
}

API cuDeviceGet(CUdevice *device, int index)
{
    Guard guard(state().lock);
    *device = index;
    return known(index);
}

API cuDeviceGetName(char *name, int size, CUdevice device)
{
    Guard guard(state().lock);
    if (size > 0)
        snprintf(name, (size_t)size, "Emulated GPU");
    return known(device);
}

API cuDeviceTotalMem_v2(size_t *bytes, CUdevice device)
{
    Guard guard(state().lock);
    *bytes = state().settings.memory;
    return known(device);
}

API cuDeviceGetAttribute(int *value, CUdevice_attribute which, CUdevice device)
{
    Guard guard(state().lock);
    if (which <= 0 || which >= CU_DEVICE_ATTRIBUTE_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    *value = attribute(which);
    return known(device);
}

API cuDeviceComputeCapability(int *major, int *minor, CUdevice device)
{
    Guard guard(state().lock);
    *major = attribute(75), *minor = attribute(76);
    return known(device);
}

API cuDeviceGetPCIBusId(char *text, int size, CUdevice device)
{
    Guard guard(state().lock);
    snprintf(text, (size_t)size, "0000:00:00.0");
    return known(device);
}

API cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device)
{
    Guard guard(state().lock);
    if (CUresult problem = known(device))
        return problem;
    *context = &state().primary;
    state().primary.uses++;
    state().contexts.insert(*context);
    return CUDA_SUCCESS;
}

// The last user of a context takes everything in it away.
void release_context(CUcontext context, Guard &guard)
{
    State &s = state();
    if (--context->uses)
        return;
    wait_for_all(guard);
    check_memory("a kernel or copy");
    check_all_freed();
    s.contexts.erase(context);
    for (CUstream stream : std::set<CUstream>(s.streams))
        if (stream->context == context)
            destroy_stream(stream);
    for (CUmodule module : std::set<CUmodule>(s.modules))
        if (module->context == context)
            unload(module);
    for (CUevent event : std::set<CUevent>(s.events))
        if (event->context == context) {
            s.events.erase(event);
            delete event;
        }
    for (auto each = s.ranges.begin(); each != s.ranges.end();) {
        const auto found = each++;
        if (found->second.context == context)
            free_range(found, guard);
    }
    if (s.contexts.empty()) {
        s.sticky = CUDA_SUCCESS;  // An error lives as long as the context does.
        s.captures.clear();
    }
    if (!context->primary)
        delete context;
}

API cuDevicePrimaryCtxRelease_v2(CUdevice device)
{
    Guard guard(state().lock);
    if (CUresult problem = known(device))
        return problem;
    if (!state().primary.uses)
        return CUDA_ERROR_INVALID_CONTEXT;
    release_context(&state().primary, guard);
    return CUDA_SUCCESS;
}

API cuDevicePrimaryCtxGetState(CUdevice device, unsigned *flags, int *active)
{
    Guard guard(state().lock);
    *flags = 0;
    *active = state().primary.uses > 0;
    return known(device);
}

API cuCtxPushCurrent_v2(CUcontext context)
{
    Guard guard(state().lock);
    if (!state().initialised)
        return CUDA_ERROR_NOT_INITIALIZED;
    if (!state().contexts.count(context))
        return CUDA_ERROR_INVALID_CONTEXT;
    stack.push_back(context);
    return CUDA_SUCCESS;
}

API cuCtxPopCurrent_v2(CUcontext *context)
{
    if (stack.empty())
        return CUDA_ERROR_INVALID_CONTEXT;
    if (context)
        *context = stack.back();
    stack.pop_back();
    return CUDA_SUCCESS;
}

API cuCtxSetCurrent(CUcontext context)
{
    Guard guard(state().lock);
    if (context && !state().contexts.count(context))
        return CUDA_ERROR_INVALID_CONTEXT;
    if (!stack.empty())
        stack.pop_back();
    if (context)
        stack.push_back(context);
    return CUDA_SUCCESS;
}

API cuCtxGetCurrent(CUcontext *context)
{
    *context = current();
    return state().initialised ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

API cuCtxCreate_v4(CUcontext *context, CUctxCreateParams *, unsigned, CUdevice device)
{
    Guard guard(state().lock);
    if (CUresult problem = known(device))
        return problem;
    *context = new CUctx_st{1, false};
    state().contexts.insert(*context);
    stack.push_back(*context);
    return CUDA_SUCCESS;
}

API cuCtxDestroy_v2(CUcontext context)
{
    Guard guard(state().lock);
    if (!state().contexts.count(context) || context->primary)
        return CUDA_ERROR_INVALID_CONTEXT;
    if (current() == context)
        stack.pop_back();
    context->uses = 1;
    release_context(context, guard);
    return CUDA_SUCCESS;
}

API cuCtxDetach(CUcontext context) { return cuCtxDestroy_v2(context); }

API cuCtxGetDevice(CUdevice *device)
{
    ENTER;
    *device = 0;
    return CUDA_SUCCESS;
}

API cuCtxGetApiVersion(CUcontext, unsigned *version)
{
    *version = 13000;
    return CUDA_SUCCESS;
}

API cuCtxGetLimit(size_t *value, CUlimit)
{
    ENTER;
    *value = 1024;
    return CUDA_SUCCESS;
}

API cuCtxSetLimit(CUlimit, size_t)
{
    ENTER;
    return CUDA_SUCCESS;
}
