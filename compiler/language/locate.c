/* Where a diagnostic points, and how people see it (syntax.h). */
#include "compiler/language/syntax.h"
#include "schema/formats/utf8.h"
#include <limits.h>
#include <string.h>

/* Bytes [begin, end) of the source, a place on one line; column and cells in characters, tabs widened. */
typedef struct {
    const char *line, *line_end; /* without the line break */
    const char *begin, *end;
    unsigned number;
} Spot;

enum { WINDOW = 100, BEFORE = 40, TAB = 4, SUBTERM = 100 };

static Spot find_spot(const Program *p, const Place *place) {
    const char *source = p->source, *stop = source + p->source_len;
    Spot s = {.line = source, .begin = source + place->a, .end = source + place->b, .number = 1};
    for (const char *at = source; (at = memchr(at, '\n', (size_t)(s.begin - at)));) {
        s.line = ++at;
        if (s.number < UINT_MAX) s.number++;
    }
    const char *end = memchr(s.begin, '\n', (size_t)(stop - s.begin));
    s.line_end = end ? end : stop;
    if (s.line_end > s.begin && s.line_end[-1] == '\r') s.line_end--;
    if (s.end > s.line_end) s.end = s.line_end;
    if (s.end < s.begin) s.end = s.begin;
    return s;
}

Located syntax_locate(const Program *p, At at) {
    const Place *place = program_place(p, at);
    Located found = {0};
    if (!place) return found;
    if (place->kind != PLACE_TEXT) {
        Buf pointer;
        buf_init(&pointer);
        place_pointer(&pointer, p, place);
        found.pointer = buf_take(&pointer, NULL);
        return found;
    }
    Spot s = find_spot(p, place);
    size_t column = utf8_count(s.line, s.begin) + 1, width = utf8_count(s.begin, s.end);
    found.line = s.number;
    found.column = column < UINT_MAX / 2 ? (unsigned)column : UINT_MAX / 2;
    found.end_column = found.column + (width == 0 ? 1 : width < UINT_MAX / 2 ? (unsigned)width : UINT_MAX / 2);
    return found;
}

static size_t cells(const char *at, const char *end) {
    size_t n = utf8_count(at, end);
    for (; at < end; at++) n += *at == '\t' ? TAB - 1 : 0;
    return n;
}

/* Characters back from `from` to at most n before it. */
static const char *step_back(const char *begin, const char *from, size_t n) {
    for (; n && from > begin; n--)
        do from--;
        while (from > begin && ((unsigned char)*from & 0xC0) == 0x80);
    return from;
}

static const char *step_on(const char *from, const char *end, size_t n) {
    for (; n && from < end; n--) {
        size_t step = utf8_step(from, end);
        from += step ? step : 1;
    }
    return from;
}

/* Source for eyes: tabs as spaces, and nothing that could steer a terminal. */
static void put_source(Buf *out, const char *at, const char *end) {
    while (at < end) {
        size_t n = utf8_step(at, end);
        unsigned char c = (unsigned char)*at;
        bool control = c < 0x20 || c == 0x7F || (n == 2 && c == 0xC2 && (unsigned char)at[1] < 0xA0);
        if (*at == '\t') buf_printf(out, "%*s", TAB, "");
        else if (!n || control) buf_puts(out, "\uFFFD");
        else buf_put(out, at, n);
        at += n ? n : 1;
    }
}

static void put_many(Buf *out, char c, size_t n) {
    while (n--) buf_putc(out, c);
}

/* The part of a line that is shown: all of a short one. */
typedef struct {
    const char *begin, *end;
} Shown;

static Shown window(const Spot *s) {
    if (step_on(s->line, s->line_end, WINDOW) == s->line_end) return (Shown){s->line, s->line_end};
    const char *begin = step_back(s->line, s->begin, BEFORE);
    return (Shown){begin, step_on(begin, s->line_end, WINDOW)};
}

static void put_line(Buf *out, const Spot *s, Shown shown, int gutter) {
    buf_printf(out, "%*u | %s", gutter, s->number, shown.begin > s->line ? "…" : "");
    put_source(out, shown.begin, shown.end);
    buf_puts(out, shown.end < s->line_end ? "…\n" : "\n");
}

static void put_caret(Buf *out, const Spot *s, Shown shown, int gutter, const char *label) {
    const char *end = s->end < shown.end ? s->end : shown.end;
    size_t width = end > s->begin ? cells(s->begin, end) : 1;
    buf_printf(out, "%*s | ", gutter, "");
    put_many(out, ' ', cells(shown.begin, s->begin) + (shown.begin > s->line));
    put_many(out, '^', width);
    buf_printf(out, "%s%s\n", label ? " " : "", label ? label : "");
}

static int digits(unsigned n) {
    int count = 1;
    while (n /= 10) count++;
    return count;
}

/* What the first and the second of two places, in the order of the source, are. */
static const char *label_of(const Diag *diag, bool second, bool swapped) {
    if (diag->code == ERR_linear_reused) return second ? "used again" : "first use";
    if (diag->code == ERR_parse_error) return second == swapped ? NULL : "opened here";
    return NULL;
}

static void render_text(Buf *out, const Program *p, const Diag *diag, const Place *place, const Place *other) {
    Located at = syntax_locate(p, diag->at);
    bool swapped = other && other->a < place->a;
    Spot first = find_spot(p, swapped ? other : place), second = other ? find_spot(p, swapped ? place : other) : first;
    int gutter = digits(second.number);
    buf_printf(out, "%*s--> %u:%u\n%*s |\n", gutter, "", at.line, at.column, gutter, "");
    Shown shown = window(&first);
    put_line(out, &first, shown, gutter);
    put_caret(out, &first, shown, gutter, other ? label_of(diag, false, swapped) : NULL);
    if (!other) return;
    if (second.line != first.line || second.begin > shown.end) {
        if (second.number > first.number + 1) buf_printf(out, "%*s...\n", gutter, "");
        shown = window(&second);
        put_line(out, &second, shown, gutter);
    }
    put_caret(out, &second, shown, gutter, label_of(diag, true, swapped));
}

/* The node a JSON or missing place stands for, TERM_NONE when there is none. */
static uint32_t node_of(const Program *p, At at) {
    if (at.kind == AT_NODE && at.index < p->nnodes) return at.index;
    if (at.kind == AT_BINDER && at.index < p->nbinders) return p->binders[at.index].owner;
    return TERM_NONE;
}

static void render_node(Buf *out, const Cx *cx, const Program *p, At at, const char *label) {
    const Place *place = program_place(p, at);
    uint32_t node = node_of(p, at);
    if (place && place->kind != PLACE_TEXT) {
        size_t begin = out->len + strlen(" --> ");
        buf_puts(out, " --> ");
        place_pointer(out, p, place);
        if (!out->failed && out->len == begin) buf_puts(out, "the whole term");
        buf_printf(out, label ? " (%s)\n" : "\n", label);
    }
    if (node == TERM_NONE) return;
    buf_puts(out, "  | ");
    syntax_print_node(out, cx, p, node, SUBTERM);
    buf_putc(out, '\n');
}

static void render_nodes(Buf *out, const Cx *cx, const Program *p, const Diag *diag) {
    bool two = diag->other.kind != AT_NOTHING;
    bool swapped = two && diag->at.kind == diag->other.kind && diag->other.index < diag->at.index;
    render_node(out, cx, p, swapped ? diag->other : diag->at, two ? label_of(diag, false, swapped) : NULL);
    if (two) render_node(out, cx, p, swapped ? diag->at : diag->other, label_of(diag, true, swapped));
}

void syntax_render(Buf *out, const Cx *cx, const Program *p, const Diag *diag) {
    const Place *place = p ? program_place(p, diag->at) : NULL, *other = p ? program_place(p, diag->other) : NULL;
    buf_printf(out, "error[%s]: %s\n", err_name(diag->code), diag->message ? diag->message : err_title(diag->code));
    if (place && place->kind == PLACE_TEXT) render_text(out, p, diag, place, other && other->kind == PLACE_TEXT ? other : NULL);
    else if (p) render_nodes(out, cx, p, diag);
    if (diag->hint) buf_printf(out, "  = help: %s\n", diag->hint);
}
