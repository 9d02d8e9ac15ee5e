// Copies and fills: what they wait for, and what they check.

#include "driver.h"

enum Place { UNKNOWN, PAGEABLE, FIXED };  // where a pointer leads; FIXED: to the device or to pinned memory

struct Side {
    char *start;
    size_t pitch;
    bool host;
    Place place;
    size_t span(size_t width, size_t rows) const { return rows ? (rows - 1) * pitch + width : 0; }
};

struct Copy {
    Side to, from;
    size_t width, rows;
};

static Place place_of(const Side &side, size_t span)
{
    bool partly = false;
    const bool inside = find_range(side.start, span, &partly) != state().ranges.end();
    return inside ? FIXED : side.host && !partly && side.start ? PAGEABLE : UNKNOWN;
}

// Says that a range is in use, so that it is not freed under a copy; false where it was freed before.
static bool hold(const Side &side, size_t span, int change)
{
    if (side.place != FIXED)
        return true;
    Found found = find_range(side.start, span);
    if (found == state().ranges.end())
        return false;
    found->second.users += change;
    return true;
}

static CUresult run_copy(const Copy &copy)
{
    State &s = state();
    const size_t to = copy.to.span(copy.width, copy.rows), from = copy.from.span(copy.width, copy.rows);
    {
        Guard guard(s.lock);
        if (!hold(copy.to, to, 1))
            return fail(CUDA_ERROR_ILLEGAL_ADDRESS, "a copy to memory that was freed before it ran");
        if (!hold(copy.from, from, 1)) {
            hold(copy.to, to, -1);
            return fail(CUDA_ERROR_ILLEGAL_ADDRESS, "a copy from memory that was freed before it ran");
        }
    }
    for (size_t row = 0; row < copy.rows; row++)
        memmove(copy.to.start + row * copy.to.pitch, copy.from.start + row * copy.from.pitch, copy.width);
    Guard guard(s.lock);
    hold(copy.to, to, -1);
    hold(copy.from, from, -1);
    if (copy.from.host && !copy.to.host) {
        s.counters.copies_up++;
        s.counters.bytes_up += copy.width * copy.rows;
    } else if (copy.to.host && !copy.from.host) {
        s.counters.copies_down++;
        s.counters.bytes_down += copy.width * copy.rows;
    }
    s.changed.notify_all();
    return CUDA_SUCCESS;
}

// What the copy does once its bytes are in staging memory, which lives as long as the work does.
static Work staged(Copy copy)
{
    auto bytes = std::make_shared<std::vector<char>>(copy.width * copy.rows);
    for (size_t row = 0; row < copy.rows; row++)
        memcpy(bytes->data() + row * copy.width, copy.from.start + row * copy.from.pitch, copy.width);
    copy.from.start = bytes->data();
    copy.from.pitch = copy.width;
    return [copy, bytes] { return run_copy(copy); };
}

// As "API synchronization behavior" in the documentation of the driver API says.
static CUresult start_copy(Copy copy, CUstream handle, bool synchronous)
{
    ENTER;
    CUstream stream = find_stream(handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    if (synchronous)
        if (CUresult problem = unsafe())
            return problem;
    if (!copy.width || !copy.rows)
        return CUDA_SUCCESS;
    for (Side *side : {&copy.to, &copy.from}) {
        if (copy.rows > 1 && side->pitch < copy.width)
            return CUDA_ERROR_INVALID_VALUE;
        side->place = place_of(*side, side->span(copy.width, copy.rows));
        if (side->place == UNKNOWN)
            return CUDA_ERROR_INVALID_VALUE;
    }
    const bool pageable = copy.to.place == PAGEABLE || copy.from.place == PAGEABLE;
    if (pageable && stream->capture) {
        // Stricter than real drivers, which capture such a copy and read or write the memory at each launch: whatever
        // is there by then. A program that means pinned memory should not be given the slow path silently.
        stream->capture->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    MarkPtr mark;
    Node node;
    if (copy.from.place == PAGEABLE) {
        if (synchronous) {
            if (CUresult problem = submit(stream, {}, &mark))
                return problem;
            wait_for(mark, guard);
        }
        node.work = staged(copy);
    } else {
        node.work = [copy] { return run_copy(copy); };
    }
    if (CUresult problem = submit(stream, std::move(node), &mark))
        return problem;
    // From pageable memory a copy returns once its bytes are staged, also the synchronous one; between places on the
    // device it never waits.
    const bool waits = copy.to.place == PAGEABLE
        || (synchronous && (copy.to.host || (copy.from.host && copy.from.place == FIXED)));
    if (!waits)
        return CUDA_SUCCESS;
    wait_for(mark, guard);
    check_memory("the work before a copy");
    return state().sticky;
}

static Side host_side(const void *at, size_t pitch) { return {(char *)at, pitch, true, UNKNOWN}; }
static Side device_side(CUdeviceptr at, size_t pitch) { return {(char *)at, pitch, false, UNKNOWN}; }

API cuMemcpyHtoD_v2(CUdeviceptr to, const void *from, size_t size)
{
    return start_copy({device_side(to, size), host_side(from, size), size, 1}, nullptr, true);
}

API cuMemcpyDtoH_v2(void *to, CUdeviceptr from, size_t size)
{
    return start_copy({host_side(to, size), device_side(from, size), size, 1}, nullptr, true);
}

API cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t size)
{
    return start_copy({device_side(to, size), device_side(from, size), size, 1}, nullptr, true);
}

API cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void *from, size_t size, CUstream stream)
{
    return start_copy({device_side(to, size), host_side(from, size), size, 1}, stream, false);
}

API cuMemcpyDtoHAsync_v2(void *to, CUdeviceptr from, size_t size, CUstream stream)
{
    return start_copy({host_side(to, size), device_side(from, size), size, 1}, stream, false);
}

API cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t size, CUstream stream)
{
    return start_copy({device_side(to, size), device_side(from, size), size, 1}, stream, false);
}

static CUresult copy_2d(const CUDA_MEMCPY2D *c, CUstream stream, bool synchronous)
{
    if (!c || c->srcMemoryType == CU_MEMORYTYPE_ARRAY || c->dstMemoryType == CU_MEMORYTYPE_ARRAY)
        return c ? CUDA_ERROR_NOT_SUPPORTED : CUDA_ERROR_INVALID_VALUE;
    // A pitch of 0 means rows without gaps.
    const size_t from_pitch = c->srcPitch ? c->srcPitch : c->WidthInBytes + c->srcXInBytes;
    const size_t to_pitch = c->dstPitch ? c->dstPitch : c->WidthInBytes + c->dstXInBytes;
    if (c->WidthInBytes + c->srcXInBytes > from_pitch || c->WidthInBytes + c->dstXInBytes > to_pitch)
        return CUDA_ERROR_INVALID_VALUE;
    Copy copy;
    copy.from = c->srcMemoryType == CU_MEMORYTYPE_HOST ? host_side(c->srcHost, from_pitch)
                                                       : device_side(c->srcDevice, from_pitch);
    copy.to = c->dstMemoryType == CU_MEMORYTYPE_HOST ? host_side(c->dstHost, to_pitch)
                                                     : device_side(c->dstDevice, to_pitch);
    copy.from.start += c->srcY * from_pitch + c->srcXInBytes;
    copy.to.start += c->dstY * to_pitch + c->dstXInBytes;
    copy.width = c->WidthInBytes;
    copy.rows = c->Height;
    return start_copy(copy, stream, synchronous);
}

API cuMemcpy2D_v2(const CUDA_MEMCPY2D *copy) { return copy_2d(copy, nullptr, true); }
API cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D *copy) { return copy_2d(copy, nullptr, true); }
API cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D *copy, CUstream stream) { return copy_2d(copy, stream, false); }

static CUresult run_fill(const Copy &fill, unsigned value, size_t unit)
{
    State &s = state();
    const size_t span = fill.to.span(fill.width, fill.rows);
    {
        Guard guard(s.lock);
        if (!hold(fill.to, span, 1))
            return fail(CUDA_ERROR_ILLEGAL_ADDRESS, "a memset of memory that was freed before it ran");
    }
    for (size_t row = 0; row < fill.rows; row++)
        for (size_t i = 0; i < fill.width; i += unit)
            memcpy(fill.to.start + row * fill.to.pitch + i, &value, unit);
    Guard guard(s.lock);
    hold(fill.to, span, -1);
    s.changed.notify_all();
    return CUDA_SUCCESS;
}

static CUresult start_fill(CUdeviceptr to, size_t pitch, unsigned value, size_t unit, size_t count, size_t rows,
    CUstream handle, bool synchronous)
{
    ENTER;
    CUstream stream = find_stream(handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    if (synchronous)
        if (CUresult problem = unsafe())
            return problem;
    if (!count || !rows)
        return CUDA_SUCCESS;
    Copy fill = {device_side(to, pitch), device_side(to, pitch), unit * count, rows};
    fill.to.place = place_of(fill.to, fill.to.span(fill.width, rows));
    if (fill.to.place != FIXED || to % unit || (rows > 1 && (pitch < fill.width || pitch % unit)))
        return CUDA_ERROR_INVALID_VALUE;
    Node node;
    node.work = [=] { return run_fill(fill, value, unit); };
    return submit(stream, std::move(node));  // Also memsets without Async in their name do not wait.
}

#define MEMSET(bits, type, size)                                                                                       \
    API cuMemsetD##bits##_v2(CUdeviceptr to, type value, size_t count)                                                 \
    {                                                                                                                  \
        return start_fill(to, 0, value, size, count, 1, nullptr, true);                                                \
    }                                                                                                                  \
    API cuMemsetD##bits##Async(CUdeviceptr to, type value, size_t count, CUstream stream)                              \
    {                                                                                                                  \
        return start_fill(to, 0, value, size, count, 1, stream, false);                                                \
    }                                                                                                                  \
    API cuMemsetD2D##bits##_v2(CUdeviceptr to, size_t pitch, type value, size_t width, size_t height)                  \
    {                                                                                                                  \
        return start_fill(to, pitch, value, size, width, height, nullptr, true);                                       \
    }                                                                                                                  \
    API cuMemsetD2D##bits##Async(CUdeviceptr to, size_t pitch, type value, size_t width, size_t height,                \
        CUstream stream)                                                                                               \
    {                                                                                                                  \
        return start_fill(to, pitch, value, size, width, height, stream, false);                                       \
    }
MEMSET(8, unsigned char, 1)
MEMSET(16, unsigned short, 2)
MEMSET(32, unsigned, 4)
