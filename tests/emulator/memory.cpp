// Memory: device memory is ordinary memory between guard bytes, full of rubbish at first and again when it is freed.

#include "driver.h"

static const int RUBBISH = 0xA5, FENCE = 0x5C;
static const size_t GUARD = 4096;
static const uint64_t KEEP = 16 << 20;  // freed bytes that are watched

static bool all_are(const char *at, size_t size, int value)
{
    return !size || (at[0] == (char)value && !memcmp(at, at + 1, size - 1));
}

static std::string name_of(const Range &range)
{
    char text[100];
    snprintf(text, sizeof text, "the %zu bytes of %s memory at %p", range.size,
        range.kind == DEVICE ? "device" : "pinned", (void *)range.start);
    return text;
}

void check_memory(const std::string &after)
{
    State &s = state();
    if (s.sticky)
        return;
    for (const auto &[start, range] : s.ranges) {
        if (!range.base)
            continue;
        if (!all_are(range.base, GUARD, FENCE))
            fail(CUDA_ERROR_ILLEGAL_ADDRESS, after + " wrote before " + name_of(range));
        else if (!all_are(range.start + range.size, GUARD, FENCE))
            fail(CUDA_ERROR_ILLEGAL_ADDRESS, after + " wrote behind " + name_of(range));
    }
}

static void check_freed(const Range &range)
{
    if (!state().sticky && !all_are(range.start, range.size, RUBBISH))
        fail(CUDA_ERROR_ILLEGAL_ADDRESS, "something wrote to " + name_of(range) + " after it was freed");
}

void check_all_freed()
{
    for (const Range &range : state().freed)
        check_freed(range);
}

// Frees in the order of freeing until at most `keep` bytes are watched.
static void drop_freed(uint64_t keep)
{
    State &s = state();
    while (s.freed_bytes > keep) {
        check_freed(s.freed.front());
        s.freed_bytes -= s.freed.front().size;
        free(s.freed.front().base);
        s.freed.pop_front();
    }
}

static char *allocate(size_t size, Kind kind, unsigned flags)
{
    const size_t whole = (size + GUARD - 1) / GUARD * GUARD + 2 * GUARD;
    char *base = (char *)aligned_alloc(GUARD, whole);
    if (!base)
        return nullptr;
    memset(base, FENCE, whole);
    memset(base + GUARD, RUBBISH, size);
    state().ranges[(uintptr_t)base + GUARD] = {base + GUARD, size, kind, base, current(), flags, 0};
    return base + GUARD;
}

Found find_range(const void *at, size_t size, bool *partly)
{
    auto &ranges = state().ranges;
    const uintptr_t from = (uintptr_t)at;
    Found next = ranges.upper_bound(from);
    if (next != ranges.begin()) {
        Found found = std::prev(next);
        const uintptr_t end = found->first + found->second.size;
        if (from < end && from + size <= end && from + size >= from)
            return found;
        if (partly && from < end)
            *partly = true;
    }
    if (partly && next != ranges.end() && from + size > next->first)
        *partly = true;
    return ranges.end();
}

CUresult free_range(Found found, Guard &guard)
{
    State &s = state();
    const Range range = found->second;
    s.changed.wait(guard, [&] { return !s.ranges.count((uintptr_t)range.start) || !found->second.users; });
    s.ranges.erase((uintptr_t)range.start);
    if (range.kind == DEVICE)
        s.device_bytes -= range.size;
    if (!range.base)
        return s.sticky;
    memset(range.start, RUBBISH, range.size);
    s.freed.push_back(range);
    s.freed_bytes += range.size;
    drop_freed(KEEP);
    return s.sticky;
}

API cuMemAlloc_v2(CUdeviceptr *pointer, size_t size)
{
    ENTER_UNCAPTURED;
    State &s = state();
    if (!pointer || !size)
        return CUDA_ERROR_INVALID_VALUE;
    if (size > s.settings.memory || s.device_bytes > s.settings.memory - size)
        return CUDA_ERROR_OUT_OF_MEMORY;
    char *start = allocate(size, DEVICE, 0);
    if (!start)
        return CUDA_ERROR_OUT_OF_MEMORY;
    s.device_bytes += size;
    s.counters.allocations++;
    *pointer = (CUdeviceptr)start;
    return CUDA_SUCCESS;
}

API cuMemAllocPitch_v2(CUdeviceptr *pointer, size_t *pitch, size_t width, size_t height, unsigned element)
{
    if (!pitch || !width || !height || (element != 4 && element != 8 && element != 16))
        return CUDA_ERROR_INVALID_VALUE;
    *pitch = (width + 511) / 512 * 512;
    return cuMemAlloc_v2(pointer, *pitch * height);
}

API cuMemFree_v2(CUdeviceptr pointer)
{
    Guard guard(state().lock);
    CUresult problem = ready();
    if (problem && problem != state().sticky)
        return problem;
    if ((problem = unsafe()))
        return problem;
    if (!pointer)
        return state().sticky;
    wait_for_all(guard);  // As drivers do, and programs rely on.
    check_memory("a kernel or copy");
    auto found = state().ranges.find((uintptr_t)pointer);
    if (found == state().ranges.end() || found->second.kind != DEVICE)
        return state().sticky ? state().sticky : CUDA_ERROR_INVALID_VALUE;
    return free_range(found, guard);
}

API cuMemGetInfo_v2(size_t *left, size_t *total)
{
    ENTER;
    const uint64_t all = state().settings.memory;
    if (left)
        *left = all > state().device_bytes ? all - state().device_bytes : 0;
    if (total)
        *total = all;
    return CUDA_SUCCESS;
}

API cuMemGetAddressRange_v2(CUdeviceptr *start, size_t *size, CUdeviceptr pointer)
{
    ENTER;
    Found found = find_range((void *)pointer, 1);
    if (found == state().ranges.end())
        return CUDA_ERROR_NOT_FOUND;
    if (start)
        *start = (CUdeviceptr)found->second.start;
    if (size)
        *size = found->second.size;
    return CUDA_SUCCESS;
}

API cuMemHostAlloc(void **pointer, size_t size, unsigned flags)
{
    ENTER_UNCAPTURED;
    if (!pointer || !size
        || flags & ~(unsigned)(CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP | CU_MEMHOSTALLOC_WRITECOMBINED))
        return CUDA_ERROR_INVALID_VALUE;
    *pointer = allocate(size, PINNED, flags);
    return *pointer ? CUDA_SUCCESS : CUDA_ERROR_OUT_OF_MEMORY;
}

API cuMemHostRegister_v2(void *pointer, size_t size, unsigned flags)
{
    ENTER_UNCAPTURED;
    if (!pointer || !size)
        return CUDA_ERROR_INVALID_VALUE;
    bool partly = false;
    if (find_range(pointer, size, &partly) != state().ranges.end() || partly)
        return CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
    state().ranges[(uintptr_t)pointer] = {(char *)pointer, size, REGISTERED, nullptr, current(), flags, 0};
    return CUDA_SUCCESS;
}

// Real drivers seem to wait for all work here, but promise it nowhere: a copy that is still to come fails instead.
static CUresult free_host(void *pointer, Kind kind, CUresult otherwise)
{
    Guard guard(state().lock);
    CUresult problem = ready();
    if (problem && problem != state().sticky)
        return problem;
    if ((problem = unsafe()))
        return problem;
    auto found = state().ranges.find((uintptr_t)pointer);
    if (found == state().ranges.end() || found->second.kind != kind)
        return otherwise;
    check_memory("a kernel or copy");
    return free_range(found, guard);
}

API cuMemFreeHost(void *pointer) { return free_host(pointer, PINNED, CUDA_ERROR_INVALID_VALUE); }

API cuMemHostUnregister(void *pointer)
{
    return free_host(pointer, REGISTERED, CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

API cuMemHostGetDevicePointer_v2(CUdeviceptr *result, void *pointer, unsigned flags)
{
    ENTER;
    Found found = find_range(pointer, 1);
    if (!result || flags || found == state().ranges.end() || found->second.kind == DEVICE)
        return CUDA_ERROR_INVALID_VALUE;
    *result = (CUdeviceptr)pointer;
    return CUDA_SUCCESS;
}

API cuMemHostGetFlags(unsigned *flags, void *pointer)
{
    ENTER;
    Found found = find_range(pointer, 1);
    if (!flags || found == state().ranges.end() || found->second.kind != PINNED)
        return CUDA_ERROR_INVALID_VALUE;
    *flags = found->second.flags;
    return CUDA_SUCCESS;
}
