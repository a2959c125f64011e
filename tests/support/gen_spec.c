#include "tests/support/gen_spec.h"

/* Every network is [6,6] -> [6,6], or [6,6] -> [n] for a count or a truth value. */
enum { SIDE = 6 };
#define IMAGE "!R[6,6]"
#define STEP "!(!R[6,6] -o R[6,6])"
#define AS_IMAGE "{'reshape': [6, 6]}"

typedef struct {
    Buf *out;
    Rng *r;
    bool smooth;
} Gen;

static const char *function(const Gen *g) {
    static const char *const all[] = {"'tanh'", "'sigmoid'", "{'softplus': {'beta': 2}}", "'relu'", "'leaky_relu'", "'hardtanh'"};
    return all[rng_below(g->r, g->smooth ? 3 : 6)];
}

/* One or two convolutions of an image, each with what usually follows, and its elements in a row at last. */
static void convolutions(const Gen *g) {
    uint32_t side = SIDE;
    buf_printf(g->out, "{'reshape': [1, %d, %d]}", SIDE, SIDE);
    for (uint32_t n = 1 + rng_below(g->r, 2); n-- > 0;) {
        const uint32_t kernel = 1 + rng_below(g->r, side < 4 ? side : 4), pad = rng_below(g->r, kernel), stride = 1 + rng_below(g->r, 2);
        if (rng_chance(g->r, 20)) {
            buf_printf(g->out, ",{'pad2d': {'pad': 1, 'value': %g}}", rng_real(g->r));
            side += 2;
        }
        buf_printf(g->out, ",{'conv2d': {'out': %u, 'kernel': %u, 'pad': %u, 'stride': %u, 'bias': %s}}", 1 + rng_below(g->r, 9), kernel, pad, stride,
                   rng_below(g->r, 2) ? "true" : "false");
        side = (side + 2 * pad - kernel) / stride + 1;
        if (rng_chance(g->r, 70)) buf_printf(g->out, ",%s", function(g));
        if (side < 3 || rng_below(g->r, 2)) continue;
        const uint32_t window = 2 + rng_below(g->r, 2), step = 1 + rng_below(g->r, window);
        buf_printf(g->out, ",{'%s_pool2d': {'kernel': %u, 'stride': %u}}", g->smooth || rng_below(g->r, 3) == 0 ? "avg" : "max", window, step);
        side = (side - window) / step + 1;
    }
    buf_puts(g->out, ",'flatten'");
}

static void layers(const Gen *g, uint32_t n) {
    buf_puts(g->out, "'layers': [");
    if (rng_below(g->r, 3)) convolutions(g);
    else buf_puts(g->out, "'flatten'");
    if (rng_below(g->r, 2)) buf_printf(g->out, ",{'linear': {'out': %u}},%s", 1 + rng_below(g->r, 20), function(g));
    buf_printf(g->out, ",{'linear': {'out': %u}}", n);
    if (rng_below(g->r, 2)) buf_printf(g->out, ",%s", function(g));
}

static void image_net(const Gen *g, const char *name) {
    const uint32_t kernel = 1 + 2 * rng_below(g->r, 3);
    buf_printf(g->out, "'%s': {", name);
    switch (rng_below(g->r, 4)) {
    case 0:
        buf_puts(g->out, "'inputs': ['y'], 'let': [['w', {");
        layers(g, kernel * kernel);
        buf_printf(g->out, ",{'reshape': [1, %u, %u]}], 'of': 'y'}], ['z', {'conv2d_by': {'pad': %u, 'pad_value': -1}, 'of': ['y', 'w']}]], 'out': 'z'}",
                   kernel, kernel, kernel / 2);
        return;
    case 1:
        buf_printf(g->out, "'layers': ['bias',%s]}", function(g));
        return;
    default:
        layers(g, SIDE * SIDE);
        buf_puts(g->out, "," AS_IMAGE "]}");
    }
}

/* A variable is a network's result, a weight, or a column when there is one for it; the network, of its name, is made when it is. */
static void variable(const Gen *g, Buf *binds, const char *name, const char *column, uint32_t n) {
    const uint32_t kind = rng_below(g->r, column ? 3 : 2);
    buf_printf(binds, ", '%s': ", name);
    if (kind == 1) buf_puts(binds, "{'weights': {}}");
    if (kind == 2) buf_printf(binds, "{'column': '%s'}", column);
    if (kind > 0) return;
    buf_printf(binds, "{'net': '%s', 'of': ['image']}", name);
    buf_printf(g->out, ", '%s': {", name);
    layers(g, n);
    if (n == SIDE * SIDE) buf_puts(g->out, "," AS_IMAGE);
    buf_puts(g->out, "]}");
}

void gen_spec(Buf *out, Rng *r, bool smooth) {
    static const char *const sources[] = {
        "f base", "g (f base)", "iter {base | y -> f y} (count)", "if even then base else iter {base | y -> f y} (count)",
        "if even then f base else g base", "iter {f base | y -> iter {y | z -> g z} (number)} (count)", "iter {base | y -> if even then f y else g y} (count)",
    };
    const Gen g = {out, r, smooth};
    const uint32_t count = 2 + rng_below(r, 4), number = 1 + rng_below(r, 3);
    const bool shared = rng_chance(r, 30);
    Buf binds;
    buf_init(&binds);
    buf_printf(out, "{'program': {'source': '%s', 'context': {'base': '" IMAGE "', 'f': '" STEP "', 'g': '" STEP "',"
                    " 'count': '!N[%u]', 'number': '!N[%u]', 'even': '!2'}}, 'nets': {",
               sources[rng_below(r, sizeof sources / sizeof *sources)], count, number);
    image_net(&g, "f");
    if (!shared) buf_puts(out, ", ");
    if (!shared) image_net(&g, "g");
    buf_printf(&binds, "'f': {'net': 'f'}, 'g': {'net': '%s'}", shared ? "f" : "g");
    variable(&g, &binds, "base", "image", SIDE * SIDE);
    variable(&g, &binds, "count", NULL, count);
    variable(&g, &binds, "number", NULL, number);
    variable(&g, &binds, "even", "odd", 2);
    buf_printf(out, "}, 'bind': {%s}, 'loss': {'%s': {'target': 'label'}}, 'data': {'train': 'a'}, 'optimizer': 'adam', 'batch_size': 3, 'steps': 10}",
               buf_text(&binds), smooth || rng_below(r, 2) ? "mse" : "l1");
    buf_release(&binds);
}
