// What tests ask of the emulator itself; tests/emulator/__init__.py calls these functions.

#include <dlfcn.h>

#include "driver.h"

#define CONTROL extern "C"

CONTROL void emulator_set_delay(uint64_t seed, unsigned least, unsigned most)
{
    Guard guard(state().lock);
    state().settings.seed = seed;
    state().settings.least = least;
    state().settings.most = most;
}

CONTROL void emulator_set_attribute(int which, int value)
{
    Guard guard(state().lock);
    state().settings.attributes[which] = value;
}

CONTROL void emulator_set_memory(uint64_t bytes)
{
    Guard guard(state().lock);
    state().settings.memory = bytes;
}

// Settings and counters as at first, errors forgotten; what lives goes on living.
CONTROL void emulator_reset()
{
    Guard guard(state().lock);
    wait_for_all(guard);
    state().settings = {};
    state().counters = {};
    state().sticky = CUDA_SUCCESS;
    state().fault.clear();
    state().queues = 1;  // The delays of a test's streams do not depend on the tests before.
}

// Null, or why the library cannot be used.
CONTROL const char *emulator_add_kernels(const char *path)
{
    void *loaded = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!loaded)
        return dlerror();
    Library library;
    library.size = (decltype(library.size))dlsym(loaded, "host_size");
    library.launch = (decltype(library.launch))dlsym(loaded, "host_launch");
    if (!library.size || !library.launch)
        return "it has no host_size and host_launch";
    Guard guard(state().lock);
    state().libraries.push_back(library);
    return nullptr;
}

static unsigned long long pinned(const State &s)
{
    unsigned long long count = 0;
    for (const auto &[start, range] : s.ranges)
        count += range.kind != DEVICE;
    return count;
}

// As JSON into `text`; the length of the whole.
CONTROL size_t emulator_counters(char *text, size_t size)
{
    Guard guard(state().lock);
    const State &s = state();
    const Counters &c = s.counters;
    const std::vector<std::pair<const char *, unsigned long long>> numbers = {
        {"device_bytes", s.device_bytes}, {"device_ranges", s.ranges.size() - pinned(s)}, {"pinned", pinned(s)},
        {"contexts", s.contexts.size()}, {"streams", s.streams.size()}, {"events", s.events.size()},
        {"graphs", s.graphs.size()}, {"graph_execs", s.execs.size()}, {"modules", s.modules.size()},
        {"allocations", c.allocations}, {"bytes_up", c.bytes_up}, {"bytes_down", c.bytes_down},
        {"copies_up", c.copies_up}, {"copies_down", c.copies_down}, {"graph_launches", c.graph_launches},
    };
    std::string json = "{";
    for (const auto &[name, number] : numbers)
        json += '"' + std::string(name) + "\": " + std::to_string(number) + ", ";
    json += "\"launches\": {";
    const char *separator = "";
    for (const auto &[name, number] : c.launches) {
        json += separator + ('"' + name) + "\": " + std::to_string(number);
        separator = ", ";
    }
    json += "}}";
    snprintf(text, size, "%s", json.c_str());
    return json.size();
}

CONTROL size_t emulator_fault(char *text, size_t size)
{
    Guard guard(state().lock);
    snprintf(text, size, "%s", state().fault.c_str());
    return state().fault.size();
}
