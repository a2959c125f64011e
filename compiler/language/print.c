/* Terms back to text and JSON (syntax.h): a stack of what is still to be written, so that depth costs no C stack. */
#include "compiler/language/syntax.h"
#include <stdlib.h>
#include <string.h>

/* Where a term stands says what needs parentheses there. */
typedef enum { AS_TERM, AS_FUNCTION, AS_ATOM } Position;

/* A piece of text, or a node when text is NULL. */
typedef struct {
    const char *text;
    uint32_t node;
    Position position;
} Task;

typedef struct {
    Buf *out;
    const Cx *cx;
    const Program *p;
    Task *tasks;
    size_t count, room;
} Printer;

static void push(Printer *pr, Task task) {
    if (pr->count == pr->room) {
        size_t room = pr->room ? pr->room * 2 : 64, bytes;
        Task *tasks = __builtin_mul_overflow(room, sizeof *tasks, &bytes) ? NULL : realloc(pr->tasks, bytes);
        if (!tasks) {
            pr->out->failed = true;
            return;
        }
        pr->tasks = tasks;
        pr->room = room;
    }
    pr->tasks[pr->count++] = task;
}

static void push_text(Printer *pr, const char *text) { push(pr, (Task){.text = text}); }
static void push_node(Printer *pr, uint32_t node, Position position) { push(pr, (Task){.node = node, .position = position}); }

static const char *binder_name(const Printer *pr, const TermNode *n) { return sym_name(pr->cx, pr->p->binders[n->binder].name); }

static const char *var_name(const Printer *pr, const TermNode *n) {
    return n->binder == TERM_NONE ? sym_name(pr->cx, n->name) : binder_name(pr, n);
}

/* A smooth variable's type is written !A, an arrow then in parentheses. */
static void put_declared(Buf *out, const Binder *b) {
    bool paren = b->smooth && type_is_arrow(b->type);
    if (b->smooth) buf_putc(out, '!');
    if (paren) buf_putc(out, '(');
    type_print(out, b->type);
    if (paren) buf_putc(out, ')');
}

static bool needs_parens(TermKind kind, Position position) {
    switch (kind) {
    case TERM_APP: return position == AS_ATOM;
    case TERM_SUCC:
    case TERM_IF:
    case TERM_FUN:
    case TERM_LET: return position != AS_TERM;
    default: return false;
    }
}

static void print_node(Printer *pr, uint32_t node, Position position) {
    const TermNode *n = &pr->p->nodes[node];
    Buf *out = pr->out;
    if (needs_parens(n->kind, position)) {
        buf_putc(out, '(');
        push_text(pr, ")");
    }
    switch (n->kind) {
    case TERM_VAR: buf_puts(out, var_name(pr, n)); break;
    case TERM_TRUE: buf_puts(out, "true"); break;
    case TERM_FALSE: buf_puts(out, "false"); break;
    case TERM_NAT: buf_printf(out, "%llu", (unsigned long long)n->nat); break;
    case TERM_SUCC:
        buf_puts(out, "succ ");
        push_node(pr, n->kid[0], AS_ATOM);
        break;
    case TERM_IF:
        buf_puts(out, "if ");
        push_node(pr, n->kid[2], AS_TERM);
        push_text(pr, " else ");
        push_node(pr, n->kid[1], AS_TERM);
        push_text(pr, " then ");
        push_node(pr, n->kid[0], AS_TERM);
        break;
    case TERM_FUN:
        buf_printf(out, "\\%s:", binder_name(pr, n));
        put_declared(out, &pr->p->binders[n->binder]);
        buf_puts(out, ". ");
        push_node(pr, n->kid[0], AS_TERM);
        break;
    case TERM_APP:
        push_node(pr, n->kid[1], AS_ATOM);
        push_text(pr, " ");
        push_node(pr, n->kid[0], AS_FUNCTION);
        break;
    case TERM_ITER:
        buf_puts(out, "iter {");
        push_text(pr, ")");
        push_node(pr, n->kid[2], AS_TERM);
        push_text(pr, "} (");
        push_node(pr, n->kid[1], AS_TERM);
        push_text(pr, " -> ");
        push_text(pr, binder_name(pr, n));
        push_text(pr, " | ");
        push_node(pr, n->kid[0], AS_TERM);
        break;
    default:
        buf_printf(out, "let %s = ", binder_name(pr, n));
        push_node(pr, n->kid[1], AS_TERM);
        push_text(pr, " in ");
        push_node(pr, n->kid[0], AS_TERM);
    }
}

/* {"app":[f,a,b]}: the whole chain of applications is one list. */
static void print_json_app(Printer *pr, uint32_t node) {
    buf_puts(pr->out, "{\"app\":[");
    push_text(pr, "]}");
    for (; pr->p->nodes[node].kind == TERM_APP && !pr->out->failed; node = pr->p->nodes[node].kid[0]) {
        push_node(pr, pr->p->nodes[node].kid[1], AS_TERM);
        push_text(pr, ",");
    }
    push_node(pr, node, AS_TERM);
}

/* Three keys with a term each; the first key's value is already written when its kid is TERM_NONE. */
static void push_json_keys(Printer *pr, const char *const keys[3], const uint32_t kids[3]) {
    push_text(pr, "}");
    for (int i = 2; i >= 0; i--) {
        if (kids[i] == TERM_NONE) continue;
        push_node(pr, kids[i], AS_TERM);
        push_text(pr, keys[i]);
    }
}

static void print_json_fun(Printer *pr, const TermNode *n) {
    Buf type;
    buf_init(&type);
    put_declared(&type, &pr->p->binders[n->binder]);
    buf_printf(pr->out, "{\"fun\":\"%s\",\"type\":\"%s\",\"body\":", binder_name(pr, n), buf_text(&type));
    pr->out->failed |= type.failed;
    buf_release(&type);
    push_text(pr, "}");
    push_node(pr, n->kid[0], AS_TERM);
}

static void print_json_node(Printer *pr, uint32_t node, Position position) {
    (void)position;
    const TermNode *n = &pr->p->nodes[node];
    Buf *out = pr->out;
    switch (n->kind) {
    case TERM_VAR: buf_printf(out, "\"%s\"", var_name(pr, n)); break;
    case TERM_TRUE: buf_puts(out, "true"); break;
    case TERM_FALSE: buf_puts(out, "false"); break;
    case TERM_NAT: buf_printf(out, "%llu", (unsigned long long)n->nat); break;
    case TERM_SUCC: push_json_keys(pr, (const char *const[]){"{\"succ\":", NULL, NULL}, n->kid); break;
    case TERM_IF: push_json_keys(pr, (const char *const[]){"{\"if\":", ",\"then\":", ",\"else\":"}, n->kid); break;
    case TERM_FUN: print_json_fun(pr, n); break;
    case TERM_APP: print_json_app(pr, node); break;
    case TERM_ITER:
        buf_printf(out, "{\"iter\":{\"var\":\"%s\"", binder_name(pr, n));
        push_text(pr, "}");
        push_json_keys(pr, (const char *const[]){",\"base\":", ",\"step\":", ",\"count\":"}, n->kid);
        break;
    default:
        buf_printf(out, "{\"let\":\"%s\"", binder_name(pr, n));
        push_json_keys(pr, (const char *const[]){",\"be\":", ",\"in\":", NULL}, n->kid);
    }
}

/* Writes tasks until none is left or `enough` bytes are written. */
static void run(Printer *pr, uint32_t node, size_t enough, void (*print)(Printer *, uint32_t, Position)) {
    size_t begin = pr->out->len;
    push_node(pr, node, AS_TERM);
    while (pr->count && !pr->out->failed && pr->out->len - begin <= enough) {
        Task task = pr->tasks[--pr->count];
        if (task.text) buf_puts(pr->out, task.text);
        else print(pr, task.node, task.position);
    }
    free(pr->tasks);
}

void syntax_print(Buf *out, const Cx *cx, const Program *p) {
    Printer pr = {.out = out, .cx = cx, .p = p};
    run(&pr, program_root(p), SIZE_MAX, print_node);
}

void syntax_print_json(Buf *out, const Cx *cx, const Program *p) {
    Printer pr = {.out = out, .cx = cx, .p = p};
    run(&pr, program_root(p), SIZE_MAX, print_json_node);
}

void syntax_print_node(Buf *out, const Cx *cx, const Program *p, uint32_t node, size_t max) {
    Printer pr = {.out = out, .cx = cx, .p = p};
    size_t begin = out->len;
    run(&pr, node, max, print_node);
    if (out->failed || out->len - begin <= max) return;
    out->len = begin + max; /* terms are ASCII: any byte is a place to cut */
    buf_puts(out, "…");
}
