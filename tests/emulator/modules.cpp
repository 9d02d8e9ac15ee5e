// Modules and kernels. A module is real machine code (a cubin) or PTX: the emulator reads which kernels are in it and
// for which GPUs it is, and runs the kernels of the same names that g++ compiled.

#include <elf.h>
#include <setjmp.h>
#include <signal.h>

#include "driver.h"

static int capability() { return 10 * attribute(75) + attribute(76); }

// What a section .nv.info.NAME says about its kernel: attributes of four bytes, some of which more bytes follow.
static Limits read_limits(const char *at, size_t size)
{
    const int with_bytes = 4, max_threads = 0x05, parameter_size = 0x19;  // EIFMT_SVAL, EIATTR_...
    Limits limits;
    for (const char *end = at + size; at + 4 <= end; at += 4) {
        uint16_t value;
        memcpy(&value, at + 2, sizeof value);
        if (at[1] == parameter_size)
            limits.size = value;
        if (at[0] != with_bytes)
            continue;
        if (at[1] == max_threads)
            memcpy(&limits.threads, at + 4, sizeof limits.threads);
        at += value;
    }
    return limits;
}

// The kernels of a cubin: each has sections .text.NAME and .nv.info.NAME.
static CUresult read_cubin(const char *image, Kernels &kernels)
{
    Elf64_Ehdr header;
    memcpy(&header, image, sizeof header);
    const int machine = 190;  // EM_CUDA
    if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_machine != machine)
        return CUDA_ERROR_INVALID_IMAGE;
    // The architecture is in the second byte since CUDA 13 (version 8 of the format), in the lowest before.
    const int target = header.e_flags >> (header.e_ident[EI_ABIVERSION] >= 8 ? 8 : 0) & 255, own = capability();
    if (target / 10 != own / 10 || target > own)
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    std::vector<Elf64_Shdr> sections(header.e_shnum);
    memcpy(sections.data(), image + header.e_shoff, sections.size() * sizeof(Elf64_Shdr));
    for (const Elf64_Shdr &section : sections) {
        const char *name = image + sections[header.e_shstrndx].sh_offset + section.sh_name, *about = ".nv.info.";
        if (!strncmp(name, about, strlen(about)))
            kernels[name + strlen(about)] = read_limits(image + section.sh_offset, section.sh_size);
    }
    return CUDA_SUCCESS;
}

static CUresult read_ptx(const char *image, Kernels &kernels)
{
    const char *target = strstr(image, ".target sm_");
    if (!target)
        return CUDA_ERROR_INVALID_IMAGE;
    if (atoi(target + strlen(".target sm_")) > capability())
        return CUDA_ERROR_NO_BINARY_FOR_GPU;
    const char *word = ".entry ";
    for (const char *at = strstr(image, word); at; at = strstr(at + 1, word))
        kernels[std::string(at + strlen(word), strcspn(at + strlen(word), "( \t\n"))] = {};
    return CUDA_SUCCESS;
}

API cuModuleLoadData(CUmodule *module, const void *image)
{
    ENTER_UNCAPTURED;
    if (!module || !image)
        return CUDA_ERROR_INVALID_VALUE;
    Kernels kernels;
    const bool cubin = !strncmp((const char *)image, ELFMAG, SELFMAG);
    if (CUresult problem = (cubin ? read_cubin : read_ptx)((const char *)image, kernels))
        return problem;
    *module = new CUmod_st{current(), kernels, {}};
    state().modules.insert(*module);
    return CUDA_SUCCESS;
}

API cuModuleLoadDataEx(CUmodule *module, const void *image, unsigned count, CUjit_option *options, void **values)
{
    for (unsigned i = 0; i < count; i++)  // The compiler of PTX has nothing to say.
        if (options[i] == CU_JIT_INFO_LOG_BUFFER_SIZE_BYTES || options[i] == CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES)
            values[i] = nullptr;
    return cuModuleLoadData(module, image);
}

API cuModuleLoad(CUmodule *module, const char *path)
{
    FILE *file = path ? fopen(path, "rb") : nullptr;
    if (!file)
        return CUDA_ERROR_FILE_NOT_FOUND;
    std::string image;
    char part[1 << 16];
    for (size_t count; (count = fread(part, 1, sizeof part, file));)
        image.append(part, count);
    fclose(file);
    return cuModuleLoadData(module, image.c_str());
}

void unload(CUmodule module)
{
    for (CUfunction function : module->functions) {
        state().functions.erase(function);
        delete function;
    }
    state().modules.erase(module);
    delete module;
}

API cuModuleUnload(CUmodule module)
{
    Guard guard(state().lock);
    if (!state().modules.count(module))
        return CUDA_ERROR_INVALID_HANDLE;
    if (CUresult problem = unsafe())
        return problem;
    wait_for_all(guard);
    unload(module);
    return state().sticky;
}

API cuModuleGetFunction(CUfunction *result, CUmodule module, const char *name)
{
    ENTER;
    if (!result || !name)
        return CUDA_ERROR_INVALID_VALUE;
    if (!state().modules.count(module))
        return CUDA_ERROR_INVALID_HANDLE;
    for (CUfunction function : module->functions)
        if (function->name == name) {
            *result = function;
            return CUDA_SUCCESS;
        }
    const auto found = module->kernels.find(name);
    if (found == module->kernels.end())
        return CUDA_ERROR_NOT_FOUND;
    const Limits limits = found->second;
    for (const Library &library : state().libraries) {
        const int size = library.size(name);
        if (size < 0)
            continue;
        if (limits.size >= 0 && limits.size != size) {
            state().fault = std::string("the parameter of ") + name + " has " + std::to_string(limits.size)
                + " bytes in the module and " + std::to_string(size) + " in the library for the CPU";
            return CUDA_ERROR_INVALID_IMAGE;
        }
        *result = new CUfunc_st{module, name, library, (unsigned)size, limits.threads};
        module->functions.push_back(*result);
        state().functions.insert(*result);
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_NOT_FOUND;
}

API cuFuncGetAttribute(int *value, CUfunction_attribute attribute, CUfunction function)
{
    ENTER;
    if (!value || attribute < 0 || attribute >= CU_FUNC_ATTRIBUTE_MAX)
        return CUDA_ERROR_INVALID_VALUE;
    if (!state().functions.count(function))
        return CUDA_ERROR_INVALID_HANDLE;
    *value = attribute == CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK ? (int)function->threads
        : attribute == CU_FUNC_ATTRIBUTE_NUM_REGS                 ? 32
        : attribute == CU_FUNC_ATTRIBUTE_BINARY_VERSION || attribute == CU_FUNC_ATTRIBUTE_PTX_VERSION
        ? capability()
        : 0;
    return CUDA_SUCCESS;
}

API cuFuncSetAttribute(CUfunction function, CUfunction_attribute, int)
{
    ENTER;
    return state().functions.count(function) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

API cuFuncSetCacheConfig(CUfunction function, CUfunc_cache)
{
    ENTER;
    return state().functions.count(function) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
}

struct Launch {
    std::string name;
    Library library;
    std::vector<uint64_t> parameters;  // of this type so that they are aligned
    unsigned grid[3], threads;
};

// A kernel that uses an address where nothing is ends like any other fault, not the process.
static thread_local sigjmp_buf escape;
static thread_local volatile sig_atomic_t in_kernel = 0;
static struct sigaction previous;

static void on_fault(int number, siginfo_t *, void *)
{
    if (in_kernel)
        siglongjmp(escape, 1);
    sigaction(number, &previous, nullptr);  // Not ours: it happens again, and whoever was here before gets it.
}

static void catch_faults()
{
    struct sigaction now, ours;
    sigaction(SIGSEGV, nullptr, &now);
    if (now.sa_flags & SA_SIGINFO && now.sa_sigaction == on_fault)
        return;
    previous = now;
    memset(&ours, 0, sizeof ours);
    ours.sa_flags = SA_SIGINFO;
    ours.sa_sigaction = on_fault;
    sigaction(SIGSEGV, &ours, nullptr);
}

// 0, or what host_launch returns, or -1 for an address where nothing is.
static int run_kernel(const Launch &launch, bool backwards)
{
    if (sigsetjmp(escape, 1))
        return -1;
    in_kernel = 1;
    const int failed = launch.library.launch(launch.name.c_str(), launch.parameters.data(), launch.grid,
        launch.threads, backwards);
    in_kernel = 0;
    return failed;
}

static CUresult run_launch(const Launch &launch)
{
    State &s = state();
    bool backwards = false;
    {
        Guard guard(s.lock);
        const uint64_t count = s.counters.launches[launch.name]++;
        // With a seed some launches run the threads of a block in descending order, which a GPU is free to do.
        if (s.settings.seed)
            backwards = mixed(s.settings.seed, launch.name.size(), count) & 1;
        catch_faults();
    }
    const int failed = run_kernel(launch, backwards);
    in_kernel = 0;
    Guard guard(s.lock);
    if (failed < 0)
        return fail(CUDA_ERROR_ILLEGAL_ADDRESS, "a launch of " + launch.name + " used an address where nothing is");
    check_memory("a launch of " + launch.name);
    if (!failed)
        return s.sticky;
    return fail(CUDA_ERROR_LAUNCH_FAILED, launch.name + ": some threads of a block reached a barrier, others did not");
}

// The one parameter, out of the buffer that `extra` describes.
static const void *packed(void **extra, size_t *size)
{
    const void *buffer = nullptr;
    for (int i = 0; extra[i] != CU_LAUNCH_PARAM_END; i += 2)
        if (extra[i] == CU_LAUNCH_PARAM_BUFFER_POINTER)
            buffer = extra[i + 1];
        else if (extra[i] == CU_LAUNCH_PARAM_BUFFER_SIZE)
            *size = *(const size_t *)extra[i + 1];
    return buffer;
}

API cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
    unsigned block_y, unsigned block_z, unsigned shared, CUstream handle, void **parameters, void **extra)
{
    ENTER;
    CUstream stream = find_stream(handle);
    if (!stream || !state().functions.count(function))
        return CUDA_ERROR_INVALID_HANDLE;
    if (!grid_x || !grid_y || !grid_z || grid_x > 0x7fffffff || grid_y > 65535 || grid_z > 65535)
        return CUDA_ERROR_INVALID_VALUE;
    // Our kernels use one dimension of threads and no dynamic shared memory, and that is all the emulator can do.
    if (!block_x || block_x > 1024 || block_y != 1 || block_z != 1 || shared || !parameters == !extra)
        return CUDA_ERROR_INVALID_VALUE;
    if (block_x > function->threads)
        return CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES;
    size_t size = function->size;
    const void *bytes = parameters ? parameters[0] : packed(extra, &size);
    if (!bytes || size != function->size)
        return CUDA_ERROR_INVALID_VALUE;
    Launch launch = {function->name, function->library, std::vector<uint64_t>((size + 7) / 8),
        {grid_x, grid_y, grid_z}, block_x};
    memcpy(launch.parameters.data(), bytes, size);
    Node node;
    node.function = function;
    node.work = [launch] { return run_launch(launch); };
    return submit(stream, std::move(node));
}

// A function of the program in the order of a stream: what tests put in the place of a library's network.
API cuLaunchHostFunc(CUstream handle, CUhostFn function, void *data)
{
    ENTER;
    CUstream stream = find_stream(handle);
    if (!stream)
        return CUDA_ERROR_INVALID_HANDLE;
    if (!function)
        return CUDA_ERROR_INVALID_VALUE;
    Node node;
    node.work = [function, data] {
        function(data);
        return CUDA_SUCCESS;
    };
    return submit(stream, std::move(node));
}
