// Streams: a thread each, which works through a queue, with a random delay before every item where tests ask for it.
// Events: marks in those queues.

#include "driver.h"

uint64_t mixed(uint64_t seed, uint64_t number, uint64_t counter)
{
    uint64_t z = seed + 0x9E3779B97F4A7C15ull * (number + 1) + 0xD1B54A32D192ED03ull * counter;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
}

static void work_through(std::shared_ptr<Queue> queue)
{
    State &s = state();
    Guard guard(s.lock);
    for (;;) {
        s.changed.wait(guard, [&] { return !queue->items.empty() || queue->closing; });
        if (queue->items.empty())
            return;
        Item item = std::move(queue->items.front());
        queue->items.pop_front();
        for (const MarkPtr &mark : item.before)
            wait_for(mark, guard);
        const uint64_t random = mixed(s.settings.seed, queue->number, queue->taken++);
        const uint64_t least = s.settings.least, range = std::max<uint64_t>(s.settings.most, least) - least;
        const auto delay = std::chrono::microseconds(least + random % (range + 1));
        const bool run = item.work && !s.sticky;
        guard.unlock();
        if (delay.count())
            std::this_thread::sleep_for(delay);
        if (run)
            item.work();
        item.work = nullptr;
        guard.lock();
        item.mark->done = true;
        item.mark->when = Clock::now();
        s.changed.notify_all();
    }
}

static bool is_blocking(CUstream stream) { return !(stream->flags & CU_STREAM_NON_BLOCKING); }

CUstream find_stream(CUstream stream)
{
    if (!stream || stream == CU_STREAM_LEGACY)
        return &state().legacy;
    return state().streams.count(stream) ? stream : nullptr;
}

MarkPtr enqueue(CUstream stream, Work work, std::vector<MarkPtr> before)
{
    State &s = state();
    Queue &queue = *stream->queue;
    // The legacy stream and the streams that were not created as non-blocking wait for one another.
    if (stream == &s.legacy) {
        for (CUstream other : s.streams)
            if (is_blocking(other))
                before.push_back(other->queue->last);
    } else if (is_blocking(stream)) {
        before.push_back(s.legacy.queue->last);
    }
    queue.last = std::make_shared<Mark>();
    queue.items.push_back({std::move(work), std::move(before), queue.last});
    if (!queue.started) {
        queue.started = true;
        queue.number = s.queues++;
        std::thread(work_through, stream->queue).detach();
    }
    s.changed.notify_all();
    return queue.last;
}

void wait_for(const MarkPtr &mark, Guard &guard)
{
    state().changed.wait(guard, [&] { return mark->done; });
}

void wait_for_all(Guard &guard)
{
    std::vector<MarkPtr> last = {state().legacy.queue->last};
    for (CUstream stream : state().streams)
        last.push_back(stream->queue->last);
    for (const MarkPtr &mark : last)
        wait_for(mark, guard);
}

void destroy_stream(CUstream stream)
{
    stream->queue->closing = true;
    state().changed.notify_all();
    state().streams.erase(stream);
    delete stream;
}

API cuStreamCreate(CUstream *stream, unsigned flags)
{
    ENTER;
    if (!stream || flags > CU_STREAM_NON_BLOCKING)
        return CUDA_ERROR_INVALID_VALUE;
    *stream = new CUstream_st{current(), flags, std::make_shared<Queue>(), nullptr, {}};
    state().streams.insert(*stream);
    return CUDA_SUCCESS;
}

API cuStreamCreateWithPriority(CUstream *stream, unsigned flags, int) { return cuStreamCreate(stream, flags); }

API cuCtxGetStreamPriorityRange(int *least, int *greatest)
{
    ENTER;
    if (least)
        *least = 0;
    if (greatest)
        *greatest = -5;
    return CUDA_SUCCESS;
}

API cuStreamDestroy_v2(CUstream stream)
{
    Guard guard(state().lock);
    if (!state().streams.count(stream))
        return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture)
        stream->capture->invalid = true;
    destroy_stream(stream);
    return state().sticky;
}

API cuStreamGetFlags(CUstream handle, unsigned *flags)
{
    ENTER;
    CUstream stream = find_stream(handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    *flags = stream->flags;
    return CUDA_SUCCESS;
}

// Whether a capture forbids waiting for a stream or asking for its progress.
static CUresult watchable(CUstream stream)
{
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture) {
        stream->capture->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    if (CUresult problem = unsafe())
        return problem;
    return stream == &state().legacy ? implicit() : CUDA_SUCCESS;
}

API cuStreamSynchronize(CUstream handle)
{
    ENTER;
    CUstream stream = find_stream(handle);
    if (CUresult problem = watchable(stream))
        return problem;
    if (stream == &state().legacy)
        wait_for(enqueue(stream, nullptr), guard);
    else
        wait_for(stream->queue->last, guard);
    check_memory("a stream's work");
    return state().sticky;
}

API cuStreamQuery(CUstream handle)
{
    ENTER;
    CUstream stream = find_stream(handle);
    if (CUresult problem = watchable(stream))
        return problem;
    return stream->queue->last->done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

API cuCtxSynchronize(void)
{
    ENTER_UNCAPTURED;
    wait_for_all(guard);
    check_memory("all work");
    check_all_freed();
    return state().sticky;
}

API cuEventCreate(CUevent *event, unsigned flags)
{
    ENTER;
    if (!event)
        return CUDA_ERROR_INVALID_VALUE;
    *event = new CUevent_st{current(), flags, nullptr, nullptr, {}};
    state().events.insert(*event);
    return CUDA_SUCCESS;
}

API cuEventDestroy_v2(CUevent event)
{
    Guard guard(state().lock);
    if (!state().events.erase(event))
        return CUDA_ERROR_INVALID_HANDLE;
    delete event;
    return state().sticky;
}

API cuEventRecordWithFlags(CUevent event, CUstream handle, unsigned flags)
{
    ENTER;
    CUstream stream = find_stream(handle);
    if (!stream || !state().events.count(event))
        return CUDA_ERROR_INVALID_HANDLE;
    const bool external = flags & CU_EVENT_RECORD_EXTERNAL;
    if (!stream->capture) {
        if (external)
            return CUDA_ERROR_INVALID_VALUE;
        MarkPtr mark;
        if (CUresult problem = submit(stream, {}, &mark))
            return problem;
        event->mark = mark;
        event->captured = nullptr;
        return CUDA_SUCCESS;
    }
    if (external) {
        Node node;
        node.record = event;
        return submit(stream, node);
    }
    if (stream->capture->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    event->captured = stream->capture;
    event->frontier = stream->frontier;
    return CUDA_SUCCESS;
}

API cuEventRecord(CUevent event, CUstream stream) { return cuEventRecordWithFlags(event, stream, 0); }

API cuStreamWaitEvent(CUstream handle, CUevent event, unsigned flags)
{
    ENTER;
    CUstream stream = find_stream(handle);
    if (!stream || !state().events.count(event))
        return CUDA_ERROR_INVALID_HANDLE;
    if (flags & CU_EVENT_WAIT_EXTERNAL) {
        if (!stream->capture)
            return CUDA_ERROR_INVALID_VALUE;
        Node node;
        node.wait = event;
        return submit(stream, node);
    }
    if (!event->captured) {
        if (stream->capture) {  // The graph would depend on work outside of it.
            stream->capture->invalid = true;
            return CUDA_ERROR_STREAM_CAPTURE_ISOLATION;
        }
        if (event->mark)
            enqueue(stream, nullptr, {event->mark});
        return CUDA_SUCCESS;
    }
    bool open = false;
    for (const CapturePtr &capture : state().captures)
        open |= capture == event->captured;
    if (!open || stream == &state().legacy)
        return CUDA_ERROR_CAPTURED_EVENT;
    if (stream->capture && stream->capture != event->captured) {
        stream->capture->invalid = event->captured->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    }
    if (!stream->capture)  // A fork: this stream is captured too, from here on.
        stream->frontier.clear();
    stream->capture = event->captured;
    stream->frontier.insert(event->frontier.begin(), event->frontier.end());
    return CUDA_SUCCESS;
}

static CUresult watchable(CUevent event)
{
    if (!state().events.count(event))
        return CUDA_ERROR_INVALID_HANDLE;
    if (event->captured) {
        event->captured->invalid = true;
        return CUDA_ERROR_CAPTURED_EVENT;
    }
    return unsafe();
}

API cuEventSynchronize(CUevent event)
{
    ENTER;
    if (CUresult problem = watchable(event))
        return problem;
    if (MarkPtr mark = event->mark)
        wait_for(mark, guard);
    check_memory("an event's work");
    return state().sticky;
}

API cuEventQuery(CUevent event)
{
    ENTER;
    if (CUresult problem = watchable(event))
        return problem;
    return !event->mark || event->mark->done ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

API cuEventElapsedTime_v2(float *milliseconds, CUevent start, CUevent end)
{
    ENTER;
    const State &s = state();
    if (!milliseconds || !s.events.count(start) || !s.events.count(end))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!start->mark || !end->mark || (start->flags | end->flags) & CU_EVENT_DISABLE_TIMING)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!start->mark->done || !end->mark->done)
        return CUDA_ERROR_NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(end->mark->when - start->mark->when).count();
    return CUDA_SUCCESS;
}
