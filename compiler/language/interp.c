#include "compiler/language/interp.h"
#include "compiler/language/interp_value.h"
#include "compiler/language/levels.h"
#include <string.h>

/* What is to be done with the value that comes next. */
typedef enum {
    DO_SUCC,
    DO_IF,       /* node, env: choose a branch */
    DO_ARGUMENT, /* node, env: it is the function; evaluate the argument */
    DO_APPLY,    /* value: the function; apply it */
    DO_APPLY_TO, /* value: the argument; it is the function */
    DO_LET,      /* node, env: bind it and go on */
    DO_COUNT,    /* node, env: it is the base; evaluate the count */
    DO_ITERATE,  /* node, env, value: the base; it is the count */
    DO_STEP,     /* node, env, n: it is the state; n steps to go */
    DO_PLACE,    /* type, n, value: none, unless its coefficient at place n of the type is 1; then value */
} FrameKind;

typedef struct {
    FrameKind kind;
    uint32_t node;
    union {
        Cell *env;
        const Type *type;
    };
    const InterpValue *value;
    uint64_t n;
} InterpFrame;

typedef struct Machine {
    Heap heap;
    const uint32_t *levels;
    InterpFrame *stack;
    size_t depth, room;
} Machine;

/* A run that failed leaves its frames behind; no run goes on in another. */
static Machine *machine_of(Interp *in) {
    if (in->machine) {
        in->machine->depth = 0;
        return in->machine;
    }
    Machine *m = ARENA_NEW(&in->cx->arena, Machine);
    m->heap.cx = in->cx;
    m->levels = levels_of(in->cx, in->program);
    return in->machine = m;
}

static void push(Machine *m, InterpFrame frame) {
    if (m->depth == m->room) {
        size_t room = m->room ? m->room * 2 : 64;
        InterpFrame *stack = heap_take(&m->heap, room * sizeof *stack);
        if (m->depth) memcpy(stack, m->stack, m->depth * sizeof *stack);
        m->stack = stack;
        m->room = room;
    }
    m->stack[m->depth++] = frame;
}

/* The machine either evaluates `node` in `env` (env owned, value NULL) or hands `value` (owned) to the topmost frame. */
typedef struct {
    uint32_t node;
    Cell *env;
    const InterpValue *value;
} State;

static State give(const InterpValue *value) { return (State){.value = value}; }
static State eval(uint32_t node, Cell *env) { return (State){.node = node, .env = env}; }
static Cell *share(Cell *env) { return (Cell *)value_retain(env); }

static void count_step(Interp *in) {
    if (++in->steps > in->step_limit)
        cx_fail(in->cx, ERR_too_large, AT_NOWHERE, "Use smaller numbers, or run the compiled program.",
                "Interpreting this program takes more than %llu steps.", (unsigned long long)in->step_limit);
}

/* Under `drop` and `saturate` a natural has a fixed size. */
static const InterpValue *natural(const Interp *in, uint64_t n) {
    const Nat *nat = &in->program->nat;
    if (nat->overflow == NAT_EXACT || n < nat->dim) return value_nat(n);
    return nat->overflow == NAT_DROP ? value_none() : value_nat(nat->dim - 1);
}

/* Begins a node that has parts: its first part comes next, what is left waits in a frame. */
static State descend(Machine *m, FrameKind kind, uint32_t node, uint32_t first, Cell *env) {
    push(m, (InterpFrame){.kind = kind, .node = node, .env = share(env)});
    return eval(first, env);
}

static State eval_node(Interp *in, Machine *m, uint32_t node, Cell *env) {
    const TermNode *t = &in->program->nodes[node];
    const InterpValue *value;
    count_step(in);
    switch (t->kind) {
    case TERM_IF: return descend(m, DO_IF, node, t->kid[0], env);
    case TERM_APP: return descend(m, DO_ARGUMENT, node, t->kid[0], env);
    case TERM_LET: return descend(m, DO_LET, node, t->kid[0], env);
    case TERM_ITER: return descend(m, DO_COUNT, node, t->kid[0], env);
    case TERM_FUN: return give(closure_new(&m->heap, node, env));
    case TERM_SUCC:
        push(m, (InterpFrame){.kind = DO_SUCC});
        return eval(t->kid[0], env);
    case TERM_VAR: value = value_retain(env_at(env, m->levels[t->binder])); break;
    case TERM_NAT: value = natural(in, t->nat); break;
    default: value = value_bool(t->kind == TERM_TRUE);
    }
    cell_release(&m->heap, env);
    return give(value);
}

/* Takes function and argument. A basis function asks for its argument's coefficient, and has its answer ready. */
static State apply(Interp *in, Machine *m, const InterpValue *function, const InterpValue *argument) {
    count_step(in);
    if (function == value_none()) {
        cell_release(&m->heap, argument);
        return give(function);
    }
    if (function->kind == CELL_CLOSURE) {
        uint32_t body = in->program->nodes[function->info].kid[0];
        Cell *env = env_push(&m->heap, share(function->env), argument);
        cell_release(&m->heap, function);
        return eval(body, env);
    }
    const Type *type = function->type;
    size_t index = function->index;
    cell_release(&m->heap, function);
    const InterpValue *result = basis_new(&m->heap, type->cod, index / type->dom->dim);
    push(m, (InterpFrame){.kind = DO_PLACE, .type = type->dom, .n = index % type->dom->dim, .value = result});
    return give(argument);
}

/* Whether the value's coefficient at the frame's place is 1. A function's is found by applying it to a basis vector of its
 * domain. */
static State do_place(Interp *in, Machine *m, InterpFrame f, const InterpValue *v) {
    if (v != value_none() && type_is_arrow(f.type)) {
        size_t dim = f.type->dom->dim;
        const InterpValue *probe = basis_new(&m->heap, f.type->dom, (size_t)f.n % dim);
        f.type = f.type->cod;
        f.n /= dim;
        push(m, f);
        return apply(in, m, v, probe);
    }
    bool one = v == value_none() ? false : f.type->kind == TYPE_BOOL ? v == value_bool(f.n == 0) : v == value_nat(f.n);
    cell_release(&m->heap, v);
    if (one) return give(f.value);
    cell_release(&m->heap, f.value);
    return give(value_none());
}

static State do_if(Interp *in, Machine *m, InterpFrame f, const InterpValue *condition) {
    const TermNode *t = &in->program->nodes[f.node];
    if (condition != value_none()) return eval(t->kid[condition == value_bool(true) ? 1 : 2], f.env);
    cell_release(&m->heap, f.env);
    return give(condition);
}

static State do_argument(Interp *in, Machine *m, InterpFrame f, const InterpValue *function) {
    if (function == value_none()) {
        cell_release(&m->heap, f.env);
        return give(function);
    }
    push(m, (InterpFrame){.kind = DO_APPLY, .value = function});
    return eval(in->program->nodes[f.node].kid[1], f.env);
}

static State do_iterate(Machine *m, InterpFrame f, const InterpValue *count) {
    if (count == value_none()) {
        cell_release(&m->heap, f.env);
        cell_release(&m->heap, f.value);
        return give(count);
    }
    push(m, (InterpFrame){.kind = DO_STEP, .node = f.node, .env = f.env, .n = value_to_nat(count)});
    return give(f.value);
}

static State do_step(Interp *in, Machine *m, InterpFrame f, const InterpValue *state) {
    if (f.n == 0) {
        cell_release(&m->heap, f.env);
        return give(state);
    }
    f.n--;
    push(m, f);
    return eval(in->program->nodes[f.node].kid[1], env_push(&m->heap, share(f.env), state));
}

static State resume(Interp *in, Machine *m, const InterpValue *v) {
    InterpFrame f = m->stack[--m->depth];
    switch (f.kind) {
    case DO_SUCC: return give(v == value_none() ? v : natural(in, value_to_nat(v) + 1));
    case DO_IF: return do_if(in, m, f, v);
    case DO_ARGUMENT: return do_argument(in, m, f, v);
    case DO_APPLY: return apply(in, m, f.value, v);
    case DO_APPLY_TO: return apply(in, m, v, f.value);
    case DO_LET: return eval(in->program->nodes[f.node].kid[1], env_push(&m->heap, f.env, v));
    case DO_COUNT:
        push(m, (InterpFrame){.kind = DO_ITERATE, .node = f.node, .env = share(f.env), .value = v});
        return eval(in->program->nodes[f.node].kid[2], f.env);
    case DO_ITERATE: return do_iterate(m, f, v);
    case DO_STEP: return do_step(in, m, f, v);
    default: return do_place(in, m, f, v);
    }
}

/* Runs until the stack is empty; the value is owned by the caller. */
static const InterpValue *run(Interp *in, Machine *m, State s) {
    while (!s.value || m->depth) s = s.value ? resume(in, m, s.value) : eval_node(in, m, s.node, s.env);
    return s.value;
}

const InterpValue *interp_none(void) { return value_none(); }

const InterpValue *interp_basis(Interp *in, const Type *type, size_t index) { return basis_new(&machine_of(in)->heap, type, index); }

const InterpValue *interp_run(Interp *in, const InterpValue *const *inputs, const InterpValue *const *args, uint32_t nargs) {
    Machine *m = machine_of(in);
    Cell *env = NULL;
    for (uint32_t i = 0; i < in->program->context; i++) env = env_push(&m->heap, env, value_retain(inputs[i]));
    for (uint32_t i = nargs; i-- > 0;) push(m, (InterpFrame){.kind = DO_APPLY_TO, .value = value_retain(args[i])});
    return run(in, m, eval(program_root(in->program), env));
}

/* One value that is no function, at out[at + stride·place]. */
static void put_scalar(Interp *in, const InterpValue *v, const Type *type, double *out, size_t at, size_t stride) {
    if (v == value_none()) return;
    size_t place = type->kind == TYPE_BOOL ? v != value_bool(true) : (size_t)value_to_nat(v);
    if (place >= type->dim)
        cx_fail(in->cx, ERR_compiler_mismatch, AT_NOWHERE, NULL, "The interpreter gives the natural %zu where the size is %zu.",
                place, type->dim);
    out[at + stride * place] = 1;
}

/* A curried table on its way out: `value` has been given `next` of its arguments' basis vectors. */
typedef struct {
    const Type *type;
    const InterpValue *value;
    size_t next, at, stride;
} Column;

void interp_vector(Interp *in, const InterpValue *value, const Type *type, double *out) {
    Machine *m = machine_of(in);
    size_t arrows = 0, n = 0;
    for (const Type *t = type; type_is_arrow(t); t = t->cod) arrows++;
    Column *stack = ARENA_ARRAY(&in->cx->arena, Column, arrows + 1);
    memset(out, 0, type->dim * sizeof *out);
    stack[n++] = (Column){.type = type, .value = value_retain(value), .stride = 1};
    while (n) {
        Column *c = &stack[n - 1];
        bool arrow = type_is_arrow(c->type);
        if (!arrow) put_scalar(in, c->value, c->type, out, c->at, c->stride);
        if (!arrow || c->value == value_none() || c->next == c->type->dom->dim) {
            cell_release(&m->heap, c->value);
            n--;
            continue;
        }
        const Type *dom = c->type->dom;
        size_t i = c->next++;
        const InterpValue *column = run(in, m, apply(in, m, value_retain(c->value), basis_new(&m->heap, dom, i)));
        stack[n++] = (Column){.type = c->type->cod, .value = column, .at = c->at + i * c->stride, .stride = c->stride * dom->dim};
    }
}
