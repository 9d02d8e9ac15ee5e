// Capture of streams into graphs, and graphs. A graph's nodes run in the order in which they were captured: one of the
// orders that CUDA allows, also where streams were forked.

#include "driver.h"

static thread_local CUstreamCaptureMode thread_mode = CU_STREAM_CAPTURE_MODE_GLOBAL;

// As the documentation of cuThreadExchangeStreamCaptureMode says.
CUresult unsafe()
{
    CUresult result = CUDA_SUCCESS;
    for (const CapturePtr &capture : state().captures) {
        const bool own = capture->thread == std::this_thread::get_id();
        const bool global = capture->mode == CU_STREAM_CAPTURE_MODE_GLOBAL;
        const bool forbidden = thread_mode == CU_STREAM_CAPTURE_MODE_RELAXED ? false
            : own ? capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED
                  : thread_mode == CU_STREAM_CAPTURE_MODE_GLOBAL && global;
        if (forbidden) {
            capture->invalid = true;
            result = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        }
    }
    return result;
}

CUresult implicit(bool invalidate)
{
    CUresult result = CUDA_SUCCESS;
    for (CUstream stream : state().streams)
        if (stream->capture && !(stream->flags & CU_STREAM_NON_BLOCKING)) {
            stream->capture->invalid |= invalidate;
            result = CUDA_ERROR_STREAM_CAPTURE_IMPLICIT;
        }
    return result;
}

CUresult submit(CUstream stream, Node node, MarkPtr *mark)
{
    if (stream == &state().legacy)
        if (CUresult problem = implicit())
            return problem;
    if (!stream->capture) {
        MarkPtr made = enqueue(stream, std::move(node.work));
        if (mark)
            *mark = made;
        return CUDA_SUCCESS;
    }
    if (stream->capture->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    node.after = stream->frontier;
    stream->frontier = {stream->capture->nodes->size()};
    stream->capture->nodes->push_back(std::move(node));
    return CUDA_SUCCESS;
}

API cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode *mode)
{
    if (!mode || *mode < CU_STREAM_CAPTURE_MODE_GLOBAL || *mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    std::swap(*mode, thread_mode);
    return CUDA_SUCCESS;
}

API cuStreamBeginCapture_v2(CUstream handle, CUstreamCaptureMode mode)
{
    ENTER;
    CUstream stream = find_stream(handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    if (stream == &state().legacy)
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture || mode < CU_STREAM_CAPTURE_MODE_GLOBAL || mode > CU_STREAM_CAPTURE_MODE_RELAXED)
        return CUDA_ERROR_INVALID_VALUE;
    stream->capture = std::make_shared<Capture>();
    stream->capture->origin = stream;
    stream->capture->mode = mode;
    stream->capture->thread = std::this_thread::get_id();
    stream->frontier.clear();
    state().captures.push_back(stream->capture);
    return CUDA_SUCCESS;
}

// Whether all nodes come before the end of the stream whose capture began it.
static bool is_joined(const Capture &capture)
{
    std::set<size_t> reached, open = capture.origin->frontier;
    while (!open.empty()) {
        const size_t node = *open.begin();
        open.erase(open.begin());
        if (reached.insert(node).second)
            open.insert((*capture.nodes)[node].after.begin(), (*capture.nodes)[node].after.end());
    }
    return reached.size() == capture.nodes->size();
}

API cuStreamEndCapture(CUstream handle, CUgraph *graph)
{
    ENTER;
    CUstream stream = find_stream(handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    const CapturePtr capture = stream->capture;
    if (!capture || !graph)
        return CUDA_ERROR_INVALID_VALUE;
    *graph = nullptr;
    if (capture->origin != stream) {
        capture->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    }
    if (capture->mode != CU_STREAM_CAPTURE_MODE_RELAXED && capture->thread != std::this_thread::get_id())
        return CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD;
    const bool joined = is_joined(*capture);
    State &s = state();
    for (CUstream other : s.streams)
        if (other->capture == capture)
            other->capture = nullptr;
    for (size_t i = 0; i < s.captures.size(); i++)
        if (s.captures[i] == capture)
            s.captures.erase(s.captures.begin() + (long)i);
    if (capture->invalid)
        return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    if (!joined)
        return CUDA_ERROR_STREAM_CAPTURE_UNJOINED;
    *graph = new CUgraph_st{capture->nodes};
    s.graphs.insert(*graph);
    return CUDA_SUCCESS;
}

API cuStreamIsCapturing(CUstream handle, CUstreamCaptureStatus *status)
{
    ENTER;
    CUstream stream = find_stream(handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!status)
        return CUDA_ERROR_INVALID_VALUE;
    if (stream == &state().legacy)
        if (CUresult problem = implicit(false))
            return problem;
    *status = !stream->capture ? CU_STREAM_CAPTURE_STATUS_NONE
        : stream->capture->invalid ? CU_STREAM_CAPTURE_STATUS_INVALIDATED
                                   : CU_STREAM_CAPTURE_STATUS_ACTIVE;
    return CUDA_SUCCESS;
}

API cuGraphGetNodes(CUgraph graph, CUgraphNode *nodes, size_t *count)
{
    ENTER;
    if (!state().graphs.count(graph))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!count)
        return CUDA_ERROR_INVALID_VALUE;
    if (nodes)
        for (size_t i = 0; i < *count; i++)
            nodes[i] = i < graph->nodes->size() ? (CUgraphNode)&(*graph->nodes)[i] : nullptr;
    *count = graph->nodes->size();
    return CUDA_SUCCESS;
}

API cuGraphDestroy(CUgraph graph)
{
    Guard guard(state().lock);
    if (!state().graphs.erase(graph))
        return CUDA_ERROR_INVALID_HANDLE;
    delete graph;
    return state().sticky;
}

API cuGraphInstantiateWithFlags(CUgraphExec *exec, CUgraph graph, unsigned long long)
{
    ENTER;
    if (!exec)
        return CUDA_ERROR_INVALID_VALUE;
    if (!state().graphs.count(graph))
        return CUDA_ERROR_INVALID_HANDLE;
    *exec = new CUgraphExec_st{graph->nodes, nullptr};
    state().execs.insert(*exec);
    return CUDA_SUCCESS;
}

API cuGraphUpload(CUgraphExec exec, CUstream stream)
{
    ENTER;
    return state().execs.count(exec) && find_stream(stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

API cuGraphLaunch(CUgraphExec exec, CUstream handle)
{
    ENTER;
    State &s = state();
    CUstream stream = find_stream(handle);
    if (!stream || !s.execs.count(exec))
        return CUDA_ERROR_INVALID_HANDLE;
    if (stream->capture) {  // A graph within a graph: real drivers can, the emulator cannot.
        stream->capture->invalid = true;
        return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
    }
    if (stream == &s.legacy)
        if (CUresult problem = implicit())
            return problem;
    for (const Node &node : *exec->nodes) {
        if (node.function && !s.functions.count(node.function))
            return CUDA_ERROR_INVALID_HANDLE;
        for (CUevent event : {node.record, node.wait})
            if (event && !s.events.count(event))
                return CUDA_ERROR_INVALID_HANDLE;
    }
    // A graph never runs twice at the same time.
    MarkPtr last = enqueue(stream, nullptr, exec->last ? std::vector<MarkPtr>{exec->last} : std::vector<MarkPtr>{});
    for (const Node &node : *exec->nodes) {
        std::vector<MarkPtr> before;
        if (node.wait && node.wait->mark)
            before.push_back(node.wait->mark);
        last = enqueue(stream, node.work, before);
        if (node.record) {
            node.record->mark = last;
            node.record->captured = nullptr;
        }
    }
    exec->last = last;
    s.counters.graph_launches++;
    return CUDA_SUCCESS;
}

API cuGraphExecDestroy(CUgraphExec exec)
{
    Guard guard(state().lock);
    if (!state().execs.erase(exec))
        return CUDA_ERROR_INVALID_HANDLE;
    delete exec;
    return state().sticky;
}
