// What the files of the emulated driver share: its one state, behind one lock, and the objects behind the handles.
//
// Handles are pointers to the objects below; each kind has a set of the live ones, so that a handle is looked up before
// it is followed and one that was destroyed is an error, not a crash.

#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#ifdef EMULATOR_CUDA_H  // for the test that compares all signatures with those of the toolkit
#include <cuda.h>
#else
#include "cuda_types.h"
#endif

#define API extern "C" CUresult CUDAAPI

typedef std::unique_lock<std::mutex> Guard;
typedef std::chrono::steady_clock Clock;
typedef std::function<CUresult()> Work;

// One position in the work of a stream: done when the stream has got there.
struct Mark {
    bool done = false;
    Clock::time_point when;
};
typedef std::shared_ptr<Mark> MarkPtr;

struct Item {
    Work work;                   // may be empty
    std::vector<MarkPtr> before;  // done first
    MarkPtr mark;
};

// The work of a stream. Its thread shares it, so that a stream may be destroyed with work left, as in CUDA.
struct Queue {
    std::deque<Item> items;
    uint64_t number = 0, taken = 0;  // for the delays
    bool started = false, closing = false;
    MarkPtr last = std::make_shared<Mark>();
    Queue() { last->done = true; }
};

struct Node {
    Work work;
    CUfunction function = nullptr;  // must still be loaded when the graph is launched
    CUevent record = nullptr, wait = nullptr;
    std::set<size_t> after;  // the nodes before it, for the check that forked streams were joined
};
typedef std::shared_ptr<std::vector<Node>> Nodes;

struct Capture {
    CUstream origin;
    CUstreamCaptureMode mode;
    std::thread::id thread;
    bool invalid = false;
    Nodes nodes = std::make_shared<std::vector<Node>>();
};
typedef std::shared_ptr<Capture> CapturePtr;

struct CUctx_st {
    int uses;
    bool primary;
};

struct CUstream_st {
    CUcontext context;
    unsigned flags;
    std::shared_ptr<Queue> queue = std::make_shared<Queue>();
    CapturePtr capture;
    std::set<size_t> frontier;  // the captured nodes that the next one comes after
};

struct CUevent_st {
    CUcontext context;
    unsigned flags;
    MarkPtr mark;         // null: never recorded
    CapturePtr captured;  // recorded in a capture, after these nodes
    std::set<size_t> frontier;
};

struct CUgraph_st {
    Nodes nodes;
};

struct CUgraphExec_st {
    Nodes nodes;
    MarkPtr last;
};

// What a module says about a kernel: the size of its parameter, -1 where it does not, and its __launch_bounds__.
struct Limits {
    int size = -1;
    unsigned threads = 1024;
};
typedef std::map<std::string, Limits> Kernels;

struct CUmod_st {
    CUcontext context;
    Kernels kernels;
    std::vector<CUfunction> functions;
};

// A library of kernels for the CPU, as tests/kernels/host.cpp makes them.
struct Library {
    int (*size)(const char *);
    int (*launch)(const char *, const void *, const unsigned *, unsigned, int);
};

struct CUfunc_st {
    CUmodule module;
    std::string name;
    Library library;
    unsigned size, threads;  // of its parameter; most threads of a block
};

enum Kind { DEVICE, PINNED, REGISTERED };

// A range of memory that the driver knows. `base` is what was allocated around it, with guard bytes; null for memory
// that the program only registered.
struct Range {
    char *start;
    size_t size;
    Kind kind;
    char *base;
    CUcontext context;
    unsigned flags;
    int users;  // copies that are under way
};

typedef std::map<uintptr_t, Range>::iterator Found;

struct Settings {
    uint64_t seed = 0;
    unsigned least = 0, most = 0;  // microseconds
    uint64_t memory = 8ull << 30;
    std::map<int, int> attributes;  // those that tests have changed
};

struct Counters {
    uint64_t allocations = 0, bytes_up = 0, bytes_down = 0, copies_up = 0, copies_down = 0, graph_launches = 0;
    std::map<std::string, uint64_t> launches;
};

struct State {
    std::mutex lock;
    std::condition_variable changed;
    bool initialised = false;
    CUresult sticky = CUDA_SUCCESS;
    std::string fault;  // what went wrong, in words
    Settings settings;
    Counters counters;
    std::vector<Library> libraries;
    CUctx_st primary = {0, true};
    CUstream_st legacy = {nullptr, 0, std::make_shared<Queue>(), nullptr, {}};
    uint64_t device_bytes = 0;
    std::map<uintptr_t, Range> ranges;
    std::deque<Range> freed;  // kept for a while to see whether something writes to them
    uint64_t freed_bytes = 0;
    std::set<CUcontext> contexts;
    std::set<CUstream> streams;
    std::set<CUevent> events;
    std::set<CUgraph> graphs;
    std::set<CUgraphExec> execs;
    std::set<CUmodule> modules;
    std::set<CUfunction> functions;
    std::vector<CapturePtr> captures;
    uint64_t queues = 0;
};

// Never destroyed: threads of streams may still run when the process ends.
State &state();

// The beginning of every call that needs a context: takes the lock, and returns what a driver would return at once.
#define ENTER                                                                                                          \
    Guard guard(state().lock);                                                                                         \
    if (CUresult problem = ready())                                                                                    \
        return problem

// The same for calls that a capture forbids; the capture is invalid after them.
#define ENTER_UNCAPTURED                                                                                               \
    ENTER;                                                                                                             \
    if (CUresult problem = unsafe())                                                                                   \
    return problem

CUresult ready();   // whether this thread can use its context
CUresult unsafe();  // whether a capture forbids synchronising or allocating now
// Whether work on the legacy stream would have to wait for streams that are being captured.
CUresult implicit(bool invalidate = true);
CUcontext current();
int attribute(int which);  // of the device
void release_context(CUcontext context, Guard &guard);

CUresult fail(CUresult code, const std::string &what);  // from now on all calls fail
void check_memory(const std::string &after);            // notices writes to guard bytes
void check_all_freed();                                 // and those to memory after it was freed
CUresult free_range(Found found, Guard &guard);
// The range that holds all of these bytes; end() where none does, and `partly` where one holds some.
Found find_range(const void *at, size_t size, bool *partly = nullptr);

CUstream find_stream(CUstream stream);  // null where there is no such stream
MarkPtr enqueue(CUstream stream, Work work, std::vector<MarkPtr> before = {});
CUresult submit(CUstream stream, Node node, MarkPtr *mark = nullptr);  // to run, or to capture
void wait_for(const MarkPtr &mark, Guard &guard);
void wait_for_all(Guard &guard);
void destroy_stream(CUstream stream);
void unload(CUmodule module);
uint64_t mixed(uint64_t seed, uint64_t number, uint64_t counter);  // a random number
