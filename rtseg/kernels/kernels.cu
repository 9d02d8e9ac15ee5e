// The kernels on the GPU: the twins of rtseg/kernels/cpu.py, which is the definition, with the same results.
//
// Where a frame's pixels come from and which cell of the logits' grid they lie in is worked out once per geometry by
// rtseg/kernels/tables.py; the kernels read those tables. rtseg/kernels/launch.py fills the structs below (the same
// fields in the same order) and chooses the launch shapes. No header is needed, so that NVRTC alone can compile this
// file; tests/kernels/host.h lets g++ compile it for the CPU.
//
// Arithmetic that decides a label or a rounding is written with __fadd_rn and __fmul_rn, which are never contracted
// to a fused multiply-add: the bits are then those of the CPU.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef long long i64;

#define DEVICE static __device__ __forceinline__
#define METHOD __device__ __forceinline__

#ifndef RTSEG_HOST
DEVICE float half_to_float(u16 bits)
{
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}

DEVICE u16 float_to_half(float value)
{
    u16 bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#endif

DEVICE float load(const float *at) { return *at; }
DEVICE float load(const u16 *at) { return half_to_float(*at); }
DEVICE float times(float a, float b) { return __fmul_rn(a, b); }
DEVICE float plus(float a, float b) { return __fadd_rn(a, b); }
DEVICE float minus(float a, float b) { return __fsub_rn(a, b); }

// Four bytes of a row from `offset` on, zeros from `size` on. `words`: rows begin at multiples of four bytes.
DEVICE u32 load_word(const u8 *row, int offset, int size, bool words)
{
    if (words)
        return offset < size ? *(const u32 *)(row + offset) : 0;
    u32 word = 0;
    for (int i = 0; i < 4; i++)
        if (offset + i < size)
            word |= (u32)row[offset + i] << (8 * i);
    return word;
}

DEVICE void store_word(u8 *row, int offset, int size, bool words, u32 word)
{
    if (words && offset + 4 <= size) {
        *(u32 *)(row + offset) = word;
        return;
    }
    for (int i = 0; i < 4; i++)
        if (offset + i < size)
            row[offset + i] = (u8)(word >> (8 * i));
}

DEVICE u32 byte_of(u32 word, int i) { return word >> (8 * i) & 255; }

// Byte i as a float: the last bits of 2**23 + byte. Two instructions of full speed, which conversions are not.
DEVICE float float_of_byte(u32 word, int i)
{
    return minus(__int_as_float((int)__byte_perm(word, 0x4B000000u, 0x7650u + (u32)i)), 8388608.0f);
}

// ---------------------------------------------------------------------------------------------------------------------
// Frame to tensor: cpu.preprocess. A block makes 256 pixels of one row of the tensor, a thread four of them. Frame rows
// are summed first, into shared memory, and that line's pixels then, in the order of the CPU's sums.

enum { FLOAT32 = 0, FLOAT16 = 1, UINT8 = 2 };
const int ROW_THREADS = 64;
const int ROW_PIXELS = 4 * ROW_THREADS;
const int CHUNK = 512;  // Frame pixels held at once: enough to shrink by two; more take more rounds.

struct Preprocess {
    const u8 *image, *chroma;  // chroma: of NV12, pairs of U and V
    void *out;
    const int *x_start, *y_start, *y_count;  // first frame pixel of each network pixel; -1 where the frame is not
    const float *x_weight, *y_weight;        // [tap][columns] and [row][deep]
    int pitch, chroma_pitch, frame_w, frame_h;
    int width, height, x_first, x_last;  // of the network; its columns that show the frame
    int columns, wide, deep;             // width rounded up to four; most taps per column and per row
    int words, vectors;                  // whether rows of the frame, of the tensor allow wide accesses
    int type, planar, swap;              // swap: the tensor's channels are R, G, B
    float factor[3], summand[3], border[3];  // for B, G and R
    int luma_zero, luma, u_blue, u_green, v_green, v_red;  // NV12 to BGR, times 2**20
};

// Each source below puts the B, G, R of four frame pixels, from the column x on, into value[12].
struct Bgr {
    DEVICE void fetch(const Preprocess &p, int y, int x, float *value)
    {
        const u8 *row = p.image + (i64)y * p.pitch;
        for (int part = 0; part < 3; part++) {
            u32 word = load_word(row, 3 * x + 4 * part, 3 * p.frame_w, p.words);
            for (int i = 0; i < 4; i++)
                value[4 * part + i] = float_of_byte(word, i);
        }
    }
};

struct Rgb {
    DEVICE void fetch(const Preprocess &p, int y, int x, float *value)
    {
        Bgr::fetch(p, y, x, value);
        for (int i = 0; i < 12; i += 3) {
            float red = value[i];
            value[i] = value[i + 2];
            value[i + 2] = red;
        }
    }
};

struct Bgra {
    DEVICE void fetch(const Preprocess &p, int y, int x, float *value)
    {
        const u8 *row = p.image + (i64)y * p.pitch;
        for (int i = 0; i < 4; i++) {
            u32 word = load_word(row, 4 * (x + i), 4 * p.frame_w, p.words);
            for (int channel = 0; channel < 3; channel++)
                value[3 * i + channel] = float_of_byte(word, channel);
        }
    }
};

struct Mono {
    DEVICE void fetch(const Preprocess &p, int y, int x, float *value)
    {
        u32 word = load_word(p.image + (i64)y * p.pitch, x, p.frame_w, p.words);
        for (int i = 0; i < 4; i++)
            value[3 * i] = value[3 * i + 1] = value[3 * i + 2] = float_of_byte(word, i);
    }
};

// Rounded to bytes, so that the tensor is that of the frame converted to BGR first.
DEVICE float yuv_channel(int sum) { return (float)min(max((sum + (1 << 19)) >> 20, 0), 255); }

struct Nv12 {
    DEVICE void fetch(const Preprocess &p, int y, int x, float *value)
    {
        u32 luma = load_word(p.image + (i64)y * p.pitch, x, p.frame_w, p.words);
        const u8 *pairs = p.chroma + (i64)(y / 2) * p.chroma_pitch;
        u32 chroma = load_word(pairs, x, p.frame_w + (p.frame_w & 1), p.words);
        for (int i = 0; i < 4; i++) {
            int light = ((int)byte_of(luma, i) - p.luma_zero) * p.luma;
            int u = (int)byte_of(chroma, i & 2) - 128, v = (int)byte_of(chroma, (i & 2) + 1) - 128;
            value[3 * i] = yuv_channel(light + u * p.u_blue);
            value[3 * i + 1] = yuv_channel(light + u * p.u_green + v * p.v_green);
            value[3 * i + 2] = yuv_channel(light + v * p.v_red);
        }
    }
};

// The weighted sum of the frame rows behind network row y, four pixels from column x on.
template <class Source>
DEVICE void sum_rows(const Preprocess &p, int y, int x, float *line)
{
    float sum[12], value[12];
    const int row = p.y_start[y], count = p.y_count[y];
    for (int i = 0; i < 12; i++)
        sum[i] = 0.0f;
    for (int k = 0; k < count; k++) {
        float weight = p.y_weight[y * p.deep + k];
        Source::fetch(p, row + k, x, value);
        for (int i = 0; i < 12; i++)
            sum[i] = plus(sum[i], times(value[i], weight));
    }
    for (int i = 0; i < 12; i += 4)
        *(float4 *)(line + i) = make_float4(sum[i], sum[i + 1], sum[i + 2], sum[i + 3]);
}

// Adds to four pixels of the tensor what the frame pixels `from` to `to`, held in `line`, give to them.
DEVICE void sum_line(const Preprocess &p, int4 start, int x, const float *line, int from, int to, float *sum)
{
    const int starts[4] = {start.x, start.y, start.z, start.w};
    for (int k = 0; k < p.wide; k++) {
        float4 weight = *(const float4 *)(p.x_weight + (i64)k * p.columns + x);
        const float weights[4] = {weight.x, weight.y, weight.z, weight.w};
        for (int i = 0; i < 4; i++) {
            int place = starts[i] + k;
            if (starts[i] < 0 || place < from || place >= to)
                continue;
            const float *pixel = line + 3 * (place - from);
            for (int channel = 0; channel < 3; channel++)
                sum[3 * i + channel] = plus(sum[3 * i + channel], times(pixel[channel], weights[i]));
        }
    }
}

DEVICE void store_one(const Preprocess &p, i64 at, float value)
{
    if (p.type == FLOAT32)
        ((float *)p.out)[at] = value;
    else if (p.type == FLOAT16)
        ((u16 *)p.out)[at] = float_to_half(value);
    else
        ((u8 *)p.out)[at] = (u8)(int)value;
}

// Stores the first `count` of four neighbouring numbers of the tensor.
DEVICE void store_four(const Preprocess &p, i64 at, int count, float a, float b, float c, float d)
{
    if (p.vectors && count == 4) {
        if (p.type == FLOAT32)
            *(float4 *)((float *)p.out + at) = make_float4(a, b, c, d);
        else if (p.type == FLOAT16)
            *(uint2 *)((u16 *)p.out + at) = make_uint2(
                float_to_half(a) | (u32)float_to_half(b) << 16, float_to_half(c) | (u32)float_to_half(d) << 16);
        else
            *(u32 *)((u8 *)p.out + at) = (u32)(int)a | (u32)(int)b << 8 | (u32)(int)c << 16 | (u32)(int)d << 24;
        return;
    }
    const float values[4] = {a, b, c, d};
    for (int i = 0; i < 4; i++)
        if (i < count)
            store_one(p, at + i, values[i]);
}

DEVICE void store_pixels(const Preprocess &p, int y, int x, float *v)
{
    const i64 at = (i64)y * p.width + x;
    const int count = min(4, p.width - x);
    if (p.swap)
        for (int i = 0; i < 12; i += 3) {
            float blue = v[i];
            v[i] = v[i + 2];
            v[i + 2] = blue;
        }
    if (p.planar)
        for (int plane = 0; plane < 3; plane++)
            store_four(p, at + (i64)plane * p.width * p.height, count, v[plane], v[3 + plane], v[6 + plane],
                v[9 + plane]);
    else
        for (int part = 0; part < 12; part += 4)
            store_four(p, 3 * at + part, min(4, 3 * count - part), v[part], v[part + 1], v[part + 2], v[part + 3]);
}

template <class Source>
DEVICE void preprocess(const Preprocess &p)
{
    __shared__ __align__(16) float line[3 * CHUNK];
    const int y = (int)blockIdx.y, tile = (int)blockIdx.x * ROW_PIXELS, x = tile + 4 * (int)threadIdx.x;
    const int first = max(tile, p.x_first), last = min(tile + ROW_PIXELS, p.x_last) - 1;
    const bool shown = p.y_start[y] >= 0 && first <= last;  // The same for the whole block.
    float sum[12];
    for (int i = 0; i < 12; i++)
        sum[i] = 0.0f;
    int4 start = make_int4(-1, -1, -1, -1);
    if (x < p.columns)
        start = *(const int4 *)(p.x_start + x);
    if (shown) {
        const int begin = p.x_start[first] & ~3, end = min(p.x_start[last] + p.wide, p.frame_w);
        for (int from = begin; from < end; from += CHUNK) {
            const int to = min(from + CHUNK, end);
            __syncthreads();
            for (int pixel = 4 * (int)threadIdx.x; from + pixel < to; pixel += ROW_PIXELS)
                sum_rows<Source>(p, y, from + pixel, line + 3 * pixel);
            __syncthreads();
            if (x < p.columns)
                sum_line(p, start, x, line, from, to, sum);
        }
    }
    if (x >= p.width)
        return;
    const int starts[4] = {start.x, start.y, start.z, start.w};
    for (int i = 0; i < 4; i++)
        for (int channel = 0; channel < 3; channel++) {
            float value = plus(times(sum[3 * i + channel], p.factor[channel]), p.summand[channel]);
            sum[3 * i + channel] = shown && starts[i] >= 0 ? value : p.border[channel];
        }
    store_pixels(p, y, x, sum);
}

// Ten blocks at once leave 96 registers to a thread; without the number the compiler aims for more, and spills.
#define PREPROCESS(name, source)                                                                                       \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS, 10) name(const __grid_constant__ Preprocess p)           \
    {                                                                                                                  \
        preprocess<source>(p);                                                                                         \
    }
PREPROCESS(preprocess_bgr8, Bgr)
PREPROCESS(preprocess_rgb8, Rgb)
PREPROCESS(preprocess_bgra8, Bgra)
PREPROCESS(preprocess_mono8, Mono)
PREPROCESS(preprocess_nv12, Nv12)

// ---------------------------------------------------------------------------------------------------------------------
// A tile of the frame. A block finds the labels of its tile and of a margin around it, by one of the ways further down,
// and puts them into shared memory; then `finish` writes what was asked for: labels, confidence, overlay.

const int TILE_THREADS = 256;
const int TILE_WORDS = 1024;  // Four pixels per word: room for a tile of 128x16 and a margin of 4.

enum { BLEND = 1, CONTOURS = 2 };

struct Tile {
    u8 *labels, *confidence, *overlay;  // null: not wanted
    const u8 *image;
    const u32 *fill, *line;  // 256 times blue, green, red, opacity from the low byte: for areas and for contours
    int height, width;
    int labels_pitch, confidence_pitch, image_pitch, overlay_pitch;
    int tile_h, tile_w;  // tile_w is a multiple of four
    int before, after;   // how far a contour's window reaches, 0 without
    int draw, words;     // draw: BLEND, CONTOURS or both; words: all rows begin at multiples of four bytes
    int ignore;
};

// Where a block's tile and its margin lie; columns are in units of four pixels, so that units never straddle words.
struct Place {
    int top, bottom, left, right;  // of the tile
    int upper, lower, begin, units;  // with the margin: rows upper to lower, `units` from column `begin` on

    DEVICE Place of(const Tile &t)
    {
        Place at;
        at.top = (int)blockIdx.y * t.tile_h;
        at.left = (int)blockIdx.x * t.tile_w;
        at.bottom = min(at.top + t.tile_h, t.height);
        at.right = min(at.left + t.tile_w, t.width);
        at.upper = max(at.top - t.before, 0);
        at.lower = min(at.bottom + t.after, t.height);
        at.begin = max(at.left - t.before, 0) & ~3;
        at.units = (min(at.right + t.after, t.width) - at.begin + 3) / 4;
        return at;
    }
};

DEVICE int label_at(const u32 *labels, const Place &at, int y, int x)
{
    return ((const u8 *)labels)[(y - at.upper) * at.units * 4 + x - at.begin];
}

// Whether a contour runs through a pixel: the labels in its window are not all the same.
DEVICE bool is_mixed(const Tile &t, const u32 *labels, const Place &at, int y, int x)
{
    const int label = label_at(labels, at, y, x);
    const int top = max(y - t.before, 0), bottom = min(y + t.after, t.height - 1);
    const int left = max(x - t.before, 0), right = min(x + t.after, t.width - 1);
    for (int row = top; row <= bottom; row++)
        for (int column = left; column <= right; column++)
            if (label_at(labels, at, row, column) != label)
                return true;
    return false;
}

// round((opacity * colour + (255 - opacity) * value) / 255), exactly: with t = x + 128, (t + t / 256) / 256 is the
// nearest integer to x / 255 for every x up to 65,025 (as in rtseg/kernels/paint.py).
DEVICE u32 mix(u32 value, u32 colour, u32 opacity)
{
    u32 sum = value * (255 - opacity) + opacity * colour + 128;
    return (sum + (sum >> 8)) >> 8;
}

DEVICE void paint(u8 *pixel, u32 pigment)
{
    for (int channel = 0; channel < 3; channel++)
        pixel[channel] = (u8)mix(pixel[channel], byte_of(pigment, channel), pigment >> 24);
}

DEVICE void draw_unit(const Tile &t, const u32 *labels, const Place &at, int y, int x, u32 unit)
{
    const u8 *source = t.image + (i64)y * t.image_pitch;
    u8 *target = t.overlay + (i64)y * t.overlay_pitch;
    const int size = 3 * min(x + 4, at.right);
    u8 bytes[12];
    for (int part = 0; part < 3; part++) {
        u32 word = load_word(source, 3 * x + 4 * part, size, t.words);
        for (int i = 0; i < 4; i++)
            bytes[4 * part + i] = (u8)byte_of(word, i);
    }
    for (int i = 0; i < 4; i++) {
        const u32 label = byte_of(unit, i);
        if (t.draw & BLEND)
            paint(bytes + 3 * i, t.fill[label]);
        if (t.draw & CONTOURS && x + i < at.right && is_mixed(t, labels, at, y, x + i))
            paint(bytes + 3 * i, t.line[label]);
    }
    for (int part = 0; part < 3; part++) {
        const u8 *b = bytes + 4 * part;
        store_word(target, 3 * x + 4 * part, size, t.words, b[0] | b[1] << 8 | b[2] << 16 | (u32)b[3] << 24);
    }
}

// Writes the tile's results; all labels and levels are in place.
DEVICE void finish(const Tile &t, const Place &at, const u32 *labels, const u32 *levels)
{
    const int skip = (at.left - at.begin) / 4, units = (at.right - at.left + 3) / 4;
    for (int i = (int)threadIdx.x; i < units * (at.bottom - at.top); i += TILE_THREADS) {
        const int y = at.top + i / units, x = at.left + i % units * 4;
        const int here = (y - at.upper) * at.units + skip + i % units;
        if (t.labels)
            store_word(t.labels + (i64)y * t.labels_pitch, x, at.right, t.words, labels[here]);
        if (t.confidence)
            store_word(t.confidence + (i64)y * t.confidence_pitch, x, at.right, t.words, levels[here]);
        if (t.overlay)
            draw_unit(t, labels, at, y, x, labels[here]);
    }
}

// ---------------------------------------------------------------------------------------------------------------------
// Logits to labels: cpu.labels. The argmax of the bilinear upsampling, without the upsampling; see
// rtseg/kernels/label.py for why a cell whose four corners agree is one label, and why a class that another one beats
// at all four corners cannot win inside. Both are decided here by the same comparisons as there.

enum { SOFTMAX = 1, SHARE = 2 };       // Kinds of confidence; 0 is none. As in label.py.
const float MOST = 9.999999396e29f;    // The largest number below label.LIMIT, 1e30: what infinity counts as.
const float SURE = 1.0f / 515.0f;      // label.SURE: below it 255 * confidence rounds to 255.
const int SAMPLES = 1024, MASKS = 4096;  // Room for a tile's samples, and for its cells' candidates, a bit per class.
const int UNDECIDED = 0xFFFF;

struct Scores {
    const void *scores;                 // (classes, grid_h, grid_w) float or half
    const int *cell_y, *cell_x;         // per frame row and column; -1 outside the network's input
    const float *weight_y, *weight_x;   // the share of the cell's second sample
    int grid_h, grid_w;
    int top, bottom, left, right;       // the part of the frame that is within the network's input
    int count, kind, binary, shares;    // classes that may win; confidence; one class stands for two; probabilities
    int split;                          // threads that share the search for a sample's best class
    float margin;                       // label.FAINT + log(classes) for SOFTMAX, else 0
    u8 classes[256];                    // their ids, ascending
};

struct Labels {
    Tile tile;
    Scores scores;
};

// Where the cell of a pixel has its corners in the grid.
struct Corners {
    int at[4];

    DEVICE Corners of(const Scores &s, int cell_y, int cell_x)
    {
        const int above = max(cell_y - 1, 0) * s.grid_w, below = min(cell_y, s.grid_h - 1) * s.grid_w;
        const int x0 = max(cell_x - 1, 0), x1 = min(cell_x, s.grid_w - 1);
        Corners corners = {{above + x0, above + x1, below + x0, below + x1}};
        return corners;
    }
};

// The score of the k-th allowed class at a sample; what is not a number or too large is tamed as cpu.labels does.
template <class T>
DEVICE float score(const Scores &s, int k, int sample)
{
    const T *scores = (const T *)s.scores;
    const int id = s.classes[k];
    float value;
    if (s.binary) {
        value = load(scores + sample);
        if (id == 0)
            value = s.shares ? minus(1.0f, value) : 0.0f;
    } else {
        value = load(scores + (i64)id * s.grid_h * s.grid_w + sample);
    }
    return fminf(fmaxf(value, -MOST), MOST);  // fmaxf of a NaN and a number is the number.
}

// exp of a number that is zero or less, by the steps of simd.exp_negative; below -80 it is exp(-80).
DEVICE float exp_negative(float x)
{
    const float power = times(x > -80.0f ? x : -80.0f, 1.4426950408889634f);
    const int whole = (int)minus(power, 0.5f);
    const float fraction = minus(power, (float)whole);
    float result = 0.00015403530393381606f;  // ln(2)**k / k! for k from 6 down to 0
    result = plus(times(result, fraction), 0.0013333558146428441f);
    result = plus(times(result, fraction), 0.009618129107628477f);
    result = plus(times(result, fraction), 0.055504108664821576f);
    result = plus(times(result, fraction), 0.2402265069591007f);
    result = plus(times(result, fraction), 0.6931471805599453f);
    result = plus(times(result, fraction), 1.0f);
    return times(result, __int_as_float((whole + 127) << 23));
}

DEVICE u32 level_of(float share) { return (u32)(int)plus(times(share, 255.0f), 0.5f); }

DEVICE float between(float from, float to, float weight) { return plus(from, times(minus(to, from), weight)); }

template <class T>
DEVICE float interpolate(const Scores &s, int k, const Corners &c, float weight_y, float weight_x)
{
    const float left = between(score<T>(s, k, c.at[0]), score<T>(s, k, c.at[2]), weight_y);
    const float right = between(score<T>(s, k, c.at[1]), score<T>(s, k, c.at[3]), weight_y);
    return between(left, right, weight_x);
}

// The best of classes `from` to `to` at a sample: the lowest on a tie.
template <class T>
DEVICE int best_class(const Scores &s, int sample, int from, int to, float *best)
{
    int winner = from;
    *best = score<T>(s, from, sample);
#pragma unroll 4
    for (int k = from + 1; k < to; k++) {
        float value = score<T>(s, k, sample);
        if (value > *best) {
            *best = value;
            winner = k;
        }
    }
    return winner;
}

// The sum of exp(score - best) over the other classes.
template <class T>
DEVICE float doubt_of(const Scores &s, int sample, float best)
{
    float doubt = -1.0f;  // The winner's own share.
#pragma unroll 4
    for (int k = 0; k < s.count; k++)
        doubt = plus(doubt, exp_negative(minus(score<T>(s, k, sample), best)));
    return doubt;
}

// The scores at a cell's corners of the classes that are best at one of them.
struct Rivals {
    float value[4][4];

    template <class T>
    DEVICE Rivals of(const Scores &s, const Corners &c, const int *winners)
    {
        Rivals rivals;
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++)
                rivals.value[i][j] = score<T>(s, winners[i], c.at[j]);
        return rivals;
    }
};

// Whether one of the rivals is ahead of class k by more than the margin at all corners.
template <class T>
DEVICE bool hopeless(const Scores &s, const Corners &c, const Rivals &rivals, int k)
{
    float own[4];
    for (int j = 0; j < 4; j++)
        own[j] = score<T>(s, k, c.at[j]);
    bool lost = false;
    for (int i = 0; i < 4; i++) {
        const float *rival = rivals.value[i];
        float lead = fminf(minus(rival[0], own[0]), minus(rival[1], own[1]));
        lead = fminf(lead, fminf(minus(rival[2], own[2]), minus(rival[3], own[3])));
        lost |= lead > s.margin;
    }
    return lost;
}

// The label of a pixel: the best of the cell's candidates, and (from bit 8 on) the confidence. Candidates::next(k) is
// the first candidate after k, or s.count.
template <class T, class Candidates>
DEVICE u32 solve(const Scores &s, const Candidates &candidates, const Corners &c, float weight_y, float weight_x)
{
    int winner = candidates.next(-1);
    float best = interpolate<T>(s, winner, c, weight_y, weight_x);
    for (int k = candidates.next(winner); k < s.count; k = candidates.next(k)) {
        float value = interpolate<T>(s, k, c, weight_y, weight_x);
        if (value > best) {
            best = value;
            winner = k;
        }
    }
    float share = fminf(fmaxf(best, 0.0f), 1.0f);
    if (s.kind == SOFTMAX) {
        float total = 0.0f;
        for (int k = candidates.next(-1); k < s.count; k = candidates.next(k))
            total = plus(total, exp_negative(minus(interpolate<T>(s, k, c, weight_y, weight_x), best)));
        share = __fdiv_rn(1.0f, total);
    }
    return s.classes[winner] | level_of(share) << 8;
}

// Candidates marked by a bit each.
struct Marked {
    const u8 *marks;
    int count;

    METHOD int next(int k) const
    {
        for (k++; k < count; k = (k | 7) + 1) {
            const int rest = marks[k >> 3] >> (k & 7);
            if (rest)
                return k + __ffs(rest) - 1;
        }
        return count;
    }
};

// Candidates found as they are asked for.
template <class T>
struct Sought {
    const Scores &scores;
    const Corners &corners;
    const Rivals &rivals;

    METHOD int next(int k) const
    {
        do
            k++;
        while (k < scores.count && hopeless<T>(scores, corners, rivals, k));
        return k;
    }
};

// The samples and cells that a block's pixels need.
struct Grid {
    int y_first, y_last, x_first, x_last;  // samples
    int top, left, rows, columns;          // cells
    int samples, cells;

    DEVICE Grid of(const Tile &t, const Scores &s, const Place &at)
    {
        Grid g = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0};
        const int upper = max(at.upper, s.top), lower = min(at.lower, s.bottom) - 1;
        const int left = max(at.begin, s.left), right = min(min(at.begin + 4 * at.units, t.width), s.right) - 1;
        if (upper > lower || left > right)
            return g;
        g.top = s.cell_y[upper];
        g.left = s.cell_x[left];
        g.rows = s.cell_y[lower] - g.top + 1;
        g.columns = s.cell_x[right] - g.left + 1;
        g.y_first = max(g.top - 1, 0);
        g.x_first = max(g.left - 1, 0);
        g.y_last = min(s.cell_y[lower], s.grid_h - 1);
        g.x_last = min(s.cell_x[right], s.grid_w - 1);
        g.samples = (g.y_last - g.y_first + 1) * (g.x_last - g.x_first + 1);
        g.cells = g.rows * g.columns;
        return g;
    }
};

// What a block knows of its tile while it labels it.
struct Workspace {
    u32 labels[TILE_WORDS], levels[TILE_WORDS];
    float best[SAMPLES];  // Then: doubt.
    u16 decided[SAMPLES];  // Per cell: its label, or UNDECIDED.
    u8 winner[SAMPLES];
    u8 marks[MASKS];
};

// Finds the best class of every sample, `split` threads to a sample.
template <class T>
DEVICE void find_winners(const Scores &s, const Grid &g, Workspace &w)
{
    const int columns = g.x_last - g.x_first + 1, split = s.split;
    const int part = (s.count + split - 1) / split;
    for (int i = (int)threadIdx.x; i < g.samples * split; i += TILE_THREADS) {
        const int sample = i % g.samples, from = i / g.samples * part, to = min(from + part, s.count);
        const int place = (g.y_first + sample / columns) * s.grid_w + g.x_first + sample % columns;
        float best = -MOST;
        int winner = 0;
        if (from < to)
            winner = best_class<T>(s, place, from, to, &best);
        w.best[i] = from < to ? best : -2.0f * MOST;
        w.winner[i] = (u8)winner;
    }
    __syncthreads();
    for (int sample = (int)threadIdx.x; sample < g.samples; sample += TILE_THREADS) {
        float best = w.best[sample];
        int winner = w.winner[sample];
        for (int i = sample + g.samples; i < g.samples * split; i += g.samples)
            if (w.best[i] > best) {
                best = w.best[i];
                winner = w.winner[i];
            }
        w.winner[sample] = (u8)winner;
        if (s.kind == SOFTMAX) {
            const int place = (g.y_first + sample / columns) * s.grid_w + g.x_first + sample % columns;
            w.best[sample] = doubt_of<T>(s, place, best);
        }
    }
    __syncthreads();
}

// Decides the cells whose corners agree and marks the candidates of the others, eight classes per thread.
template <class T>
DEVICE void find_candidates(const Scores &s, const Grid &g, Workspace &w)
{
    const int columns = g.x_last - g.x_first + 1, bytes = (s.count + 7) / 8;
    for (int i = (int)threadIdx.x; i < g.cells * bytes; i += TILE_THREADS) {
        const int cell = i / bytes, part = i % bytes;
        const int cell_y = g.top + cell / g.columns, cell_x = g.left + cell % g.columns;
        const Corners c = Corners::of(s, cell_y, cell_x);
        int winners[4];
        float doubt = -1.0f;
        for (int j = 0; j < 4; j++) {
            const int sample = (c.at[j] / s.grid_w - g.y_first) * columns + c.at[j] % s.grid_w - g.x_first;
            winners[j] = w.winner[sample];
            doubt = fmaxf(doubt, w.best[sample]);
        }
        bool plain = winners[0] == winners[1] && winners[0] == winners[2] && winners[0] == winners[3];
        plain = plain && s.kind != SHARE && (s.kind != SOFTMAX || doubt < SURE);
        if (part == 0)
            w.decided[cell] = (u16)(plain ? s.classes[winners[0]] : UNDECIDED);
        if (plain)
            continue;
        const Rivals rivals = Rivals::of<T>(s, c, winners);
        u32 marks = 0;
        for (int k = 8 * part; k < min(8 * part + 8, s.count); k++)
            if (!hopeless<T>(s, c, rivals, k))
                marks |= 1u << (k & 7);
        w.marks[i] = (u8)marks;
    }
    __syncthreads();
}

// Labels four pixels of a row from the samples and cells in the workspace; confidences go to *levels.
template <class T>
DEVICE u32 label_unit(const Tile &t, const Scores &s, const Grid &g, const Workspace &w, int y, int x, u32 *levels)
{
    const int bytes = (s.count + 7) / 8, cell_y = s.cell_y[y];
    const int4 four = *(const int4 *)(s.cell_x + x);  // The table's end is filled up with -1.
    const int cells[4] = {four.x, four.y, four.z, four.w};
    const int row = (cell_y - g.top) * g.columns - g.left;
    u32 labels = 0, open = 0;
    *levels = 0;
    for (int i = 0; i < 4; i++) {
        const bool inside = cell_y >= 0 && cells[i] >= 0;
        const int decided = inside ? w.decided[row + cells[i]] : t.ignore;
        labels |= (u32)(decided & 255) << (8 * i);
        *levels |= (inside ? 255u : 0u) << (8 * i);
        open |= (u32)(decided == UNDECIDED) << i;
    }
    for (; open; open &= open - 1) {  // Not unrolled: one copy of `solve`.
        const int i = __ffs((int)open) - 1, cell_x = s.cell_x[x + i];
        const Marked candidates = {w.marks + (row + cell_x) * bytes, s.count};
        const u32 found = solve<T>(s, candidates, Corners::of(s, cell_y, cell_x), s.weight_y[y], s.weight_x[x + i]);
        labels = (labels & ~(255u << (8 * i))) | (found & 255) << (8 * i);
        *levels = (*levels & ~(255u << (8 * i))) | (found >> 8 & 255) << (8 * i);
    }
    return labels;
}

// For frames larger than the grid: the host chooses tiles whose samples and cells fit the workspace.
template <class T>
DEVICE void label_tile(const Labels &p)
{
    __shared__ Workspace w;
    const Place at = Place::of(p.tile);
    const Grid g = Grid::of(p.tile, p.scores, at);
    if (g.samples) {
        find_winners<T>(p.scores, g, w);
        find_candidates<T>(p.scores, g, w);
    }
    for (int i = (int)threadIdx.x; i < at.units * (at.lower - at.upper); i += TILE_THREADS)
        w.labels[i] = label_unit<T>(p.tile, p.scores, g, w, at.upper + i / at.units, at.begin + i % at.units * 4,
            w.levels + i);
    __syncthreads();
    finish(p.tile, at, w.labels, w.levels);
}

// A pixel by itself, from the four samples around it.
template <class T>
DEVICE u32 label_pixel(const Scores &s, int y, int x)
{
    const Corners c = Corners::of(s, s.cell_y[y], s.cell_x[x]);
    int winners[4] = {0, 0, 0, 0};
    float best[4], doubt[4] = {-1.0f, -1.0f, -1.0f, -1.0f};
    for (int j = 0; j < 4; j++)
        best[j] = score<T>(s, 0, c.at[j]);
    for (int k = 1; k < s.count; k++)
        for (int j = 0; j < 4; j++) {
            const float value = score<T>(s, k, c.at[j]);
            if (value > best[j]) {
                best[j] = value;
                winners[j] = k;
            }
        }
    bool plain = s.kind != SHARE && winners[0] == winners[1] && winners[0] == winners[2] && winners[0] == winners[3];
    if (plain && s.kind == SOFTMAX) {
        for (int k = 0; k < s.count; k++)
            for (int j = 0; j < 4; j++)
                doubt[j] = plus(doubt[j], exp_negative(minus(score<T>(s, k, c.at[j]), best[j])));
        plain = fmaxf(fmaxf(doubt[0], doubt[1]), fmaxf(doubt[2], doubt[3])) < SURE;
    }
    if (plain)
        return s.classes[winners[0]] | 255u << 8;
    const Rivals rivals = Rivals::of<T>(s, c, winners);
    const Sought<T> candidates = {s, c, rivals};
    return solve<T>(s, candidates, c, s.weight_y[y], s.weight_x[x]);
}

// For any geometry; the choice where a pixel's cell is hardly ever its neighbour's.
template <class T>
DEVICE void label_pixels(const Labels &p)
{
    __shared__ u32 labels[TILE_WORDS], levels[TILE_WORDS];
    const Place at = Place::of(p.tile);
    for (int i = (int)threadIdx.x; i < 4 * at.units * (at.lower - at.upper); i += TILE_THREADS) {
        const int y = at.upper + i / (4 * at.units), x = at.begin + i % (4 * at.units);
        const bool inside = p.scores.cell_y[y] >= 0 && p.scores.cell_x[x] >= 0;
        const u32 found = inside ? label_pixel<T>(p.scores, y, x) : (u32)p.tile.ignore;
        ((u8 *)labels)[i] = (u8)found;
        ((u8 *)levels)[i] = (u8)(found >> 8);
    }
    __syncthreads();
    finish(p.tile, at, labels, levels);
}

// Four blocks at once leave 64 registers to a thread; without the number the compiler aims for five, and spills.
#define TILED(name, parameters, body)                                                                                  \
    extern "C" __global__ void __launch_bounds__(TILE_THREADS, 4) name(const __grid_constant__ parameters p)           \
    {                                                                                                                  \
        body(p);                                                                                                       \
    }
TILED(label_tiles_f32, Labels, label_tile<float>)
TILED(label_tiles_f16, Labels, label_tile<u16>)
TILED(label_pixels_f32, Labels, label_pixels<float>)
TILED(label_pixels_f16, Labels, label_pixels<u16>)

// ---------------------------------------------------------------------------------------------------------------------
// Label maps: cpu.upsample_labels, cpu.blend and cpu.contours, and both in one launch.

struct Nearest {
    Tile tile;
    const u8 *source;
    const int *rows, *columns;  // for each frame row and column that of the map; -1 outside
    int pitch, item;            // item: bytes of a value; 1 is uint8, 4 and 8 are int32 and int64
};

// Values that are no class, negative or above 254, are unlabelled, 255.
DEVICE u32 nearest_label(const Nearest &p, int y, int x)
{
    const int row = p.rows[y], column = x < p.tile.width ? p.columns[x] : -1;
    if (row < 0 || column < 0)
        return (u32)p.tile.ignore;
    const u8 *at = p.source + (i64)row * p.pitch + (i64)column * p.item;
    if (p.item == 1)
        return *at;
    const i64 value = p.item == 4 ? *(const int *)at : *(const i64 *)at;
    return value < 0 || value > 254 ? 255 : (u32)value;
}

DEVICE void upsample_tile(const Nearest &p)
{
    __shared__ u32 labels[TILE_WORDS];
    const Place at = Place::of(p.tile);
    for (int i = (int)threadIdx.x; i < at.units * (at.lower - at.upper); i += TILE_THREADS) {
        const int y = at.upper + i / at.units, x = at.begin + i % at.units * 4;
        u32 unit = 0;
        for (int j = 0; j < 4; j++)
            unit |= nearest_label(p, y, x + j) << (8 * j);
        labels[i] = unit;
    }
    __syncthreads();
    finish(p.tile, at, labels, 0);
}

TILED(upsample_labels, Nearest, upsample_tile)

struct Paint {
    Tile tile;
    const u8 *source;
    int pitch;
};

DEVICE void paint_tile(const Paint &p)
{
    __shared__ u32 labels[TILE_WORDS];
    const Place at = Place::of(p.tile);
    for (int i = (int)threadIdx.x; i < at.units * (at.lower - at.upper); i += TILE_THREADS) {
        const int y = at.upper + i / at.units, x = at.begin + i % at.units * 4;
        labels[i] = load_word(p.source + (i64)y * p.pitch, x, p.tile.width, p.tile.words);
    }
    __syncthreads();
    finish(p.tile, at, labels, 0);
}

TILED(paint_labels, Paint, paint_tile)

DEVICE bool is_mixed_far(const Paint &p, int y, int x)
{
    const Tile &t = p.tile;
    const int label = p.source[(i64)y * p.pitch + x];
    const int left = max(x - t.before, 0), right = min(x + t.after, t.width - 1);
    for (int row = max(y - t.before, 0); row <= min(y + t.after, t.height - 1); row++)
        for (int column = left; column <= right; column++)
            if (p.source[(i64)row * p.pitch + column] != label)
                return true;
    return false;
}

// Lines too thick for a tile's margin: a pixel per thread, its window read from the map. Slow, and seldom asked for.
DEVICE void draw_wide_lines(const Paint &p)
{
    const Tile &t = p.tile;
    const int x = (int)blockIdx.x * TILE_THREADS + (int)threadIdx.x, y = (int)blockIdx.y;
    if (x >= t.width)
        return;
    const u8 *source = t.image + (i64)y * t.image_pitch + 3 * x;
    u8 *target = t.overlay + (i64)y * t.overlay_pitch + 3 * x;
    const u32 label = p.source[(i64)y * p.pitch + x];
    u8 pixel[3] = {source[0], source[1], source[2]};
    if (t.draw & BLEND)
        paint(pixel, t.fill[label]);
    if (is_mixed_far(p, y, x))
        paint(pixel, t.line[label]);
    for (int channel = 0; channel < 3; channel++)
        target[channel] = pixel[channel];
}

TILED(draw_wide_contours, Paint, draw_wide_lines)

// ---------------------------------------------------------------------------------------------------------------------
// Pixels per label: cpu.areas. The one place with atomics: 16 pixels of one label, as most are, cost one addition.

struct Areas {
    const u8 *labels;
    u32 *counts;  // 256
    int pitch, height, width, words;
};

DEVICE void count_pixels(u32 *counts, const u8 *row, int x, const Areas &p)
{
    u32 part[4];
    for (int i = 0; i < 4; i++)
        part[i] = load_word(row, x + 4 * i, p.width, p.words);
    if (x + 16 <= p.width && part[0] == byte_of(part[0], 0) * 0x01010101u && part[1] == part[0] && part[2] == part[0]
        && part[3] == part[0]) {
        atomicAdd(counts + byte_of(part[0], 0), 16u);
        return;
    }
    for (int i = 0; i < 16; i++)
        if (x + i < p.width)
            atomicAdd(counts + byte_of(part[i / 4], i % 4), 1u);
}

DEVICE void count_rows(const Areas &p)
{
    __shared__ u32 counts[256];
    counts[threadIdx.x] = 0;
    __syncthreads();
    const int units = (p.width + 15) / 16, all = units * p.height;
    for (int i = (int)(blockIdx.x * TILE_THREADS + threadIdx.x); i < all; i += (int)gridDim.x * TILE_THREADS)
        count_pixels(counts, p.labels + (i64)(i / units) * p.pitch, i % units * 16, p);
    __syncthreads();
    if (counts[threadIdx.x])
        atomicAdd(p.counts + threadIdx.x, counts[threadIdx.x]);
}

TILED(count_areas, Areas, count_rows)

// Run before count_areas: one block of 256 threads.
DEVICE void clear_counts(const Areas &p) { p.counts[threadIdx.x] = 0; }

TILED(clear_areas, Areas, clear_counts)
