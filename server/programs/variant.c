#include "schema/base/heap.h"
#include "server/programs/variant.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

bool variant_is_base(const Variant *v) { return v->nargs == WIRE_ALL_ARGS && v->derive == DERIVE_NONE; }

void variant_name(char out[24], uint32_t nargs, Derive derive) {
    static const char *const derivatives[] = {"none", "vjp", "jvp", "lowered"};
    if (nargs == WIRE_ALL_ARGS) snprintf(out, 24, "*/%s", derivatives[derive]);
    else snprintf(out, 24, "%u/%s", nargs, derivatives[derive]);
}

const char *variant_culprit(char out[VARIANT_CULPRIT], const char *hash, const char *what, const Variant *v) {
    strcpy(stpcpy(stpcpy(stpcpy(out, hash), " "), what), v->name);
    return out;
}

void variant_pack(Buf *out, const BuiltMsg *built) {
    buf_u32(out, built->ninputs);
    buf_u32(out, built->nargs);
    buf_u64(out, built->smooth_args);
    buf_bytes(out, built->types, built->types_len);
    buf_bytes(out, built->graph, built->graph_len);
}

static void read_types(Variant *v, Reader *r) {
    v->inputs = ARENA_ARRAY(&v->cx.arena, const Type *, v->ninputs);
    v->args = ARENA_ARRAY(&v->cx.arena, const Type *, v->total_args);
    v->type = canon_get_type(&v->cx, r);
    for (uint32_t i = 0; i < v->ninputs; i++) v->inputs[i] = canon_get_type(&v->cx, r);
    for (uint32_t i = 0; i < v->total_args; i++) v->args[i] = canon_get_type(&v->cx, r);
    v->output = canon_get_type(&v->cx, r);
}

static bool open_types(Variant *v, const unsigned char *bytes, size_t len) {
    if (v->ninputs > len || v->total_args > len) return false;
    Reader r = reader_of(bytes, len);
    CX_TRY(&v->cx) { read_types(v, &r); }
    if (v->cx.diag.code || !reader_done(&r)) return false;
    if (v->nargs == WIRE_ALL_ARGS) return true;
    v->output = v->type;
    for (uint32_t i = 0; i < v->nargs && type_is_arrow(v->output); i++) v->output = v->output->cod;
    return true;
}

/* Which nodes depend on what is given, in topological order; NULL when memory is short. */
static bool *find_varying(const Graph *g) {
    bool *varies = calloc(g->nnodes + 1, sizeof *varies);
    for (uint32_t n = 0; varies && n < g->nnodes; n++) {
        const uint32_t *ins = node_ins(g, &g->nodes[n]);
        varies[n] = g->nodes[n].op == OP_input;
        for (uint32_t i = 0; i < g->nodes[n].nin; i++) varies[n] |= varies[ins[i]];
    }
    return varies;
}

static bool open_graph(Variant *v) {
    char why[200];
    Graph *g = graph_read(v->graph, v->graph_len, why, sizeof why);
    if (!g) return false;
    v->slots = calloc(g->nslots ? g->nslots : 1, sizeof *v->slots);
    v->outputs = calloc(g->noutputs ? g->noutputs : 1, sizeof *v->outputs);
    bool *varies = find_varying(g);
    if (v->slots && v->outputs && varies) {
        if (g->nslots) memcpy(v->slots, g->slots, g->nslots * sizeof *v->slots);
        for (uint32_t i = 0; i < g->noutputs; i++)
            v->outputs[i] = (VariantOutput){g->outputs[i].role, g->outputs[i].index, g->nodes[g->outputs[i].node].size, varies[g->outputs[i].node]};
        v->nslots = g->nslots;
        v->noutputs = g->noutputs;
    }
    GraphStats stats = graph_stats(g);
    v->macs = stats.macs;
    v->bytes = stats.bytes;
    graph_free(g);
    free(varies);
    return v->slots && v->outputs && varies;
}

bool variant_open(Variant *v) {
    buf_trim(&v->blob);
    Reader r = reader_of(v->blob.data, v->blob.len);
    size_t len;
    v->ninputs = read_u32(&r);
    v->total_args = read_u32(&r);
    v->smooth_args = read_u64(&r);
    const unsigned char *types = read_bytes(&r, &len);
    v->graph = read_bytes(&r, &v->graph_len);
    return reader_done(&r) && open_types(v, types, len) && open_graph(v);
}

void variant_close(Variant *v) {
    buf_release(&v->blob);
    cx_release(&v->cx);
    cx_init(&v->cx);
    v->cx.arena.first = VARIANT_ARENA;
    free(v->slots);
    free(v->outputs);
    v->slots = NULL;
    v->outputs = NULL;
}

size_t variant_bytes(const Variant *v) {
    return heap_bytes(v) + heap_bytes(v->blob.data) + arena_held(&v->cx.arena) + heap_bytes(v->slots) + heap_bytes(v->outputs) + heap_bytes(v->failure.message) +
           heap_bytes(v->failure.hint);
}

void variant_free(Variant *v) {
    variant_close(v);
    if (v->file >= 0) close(v->file);
    failure_release(&v->failure);
    free(v->record);
    free(v);
}

static bool copy_inputs(ProgramInputs *inputs, const Cx *cx, const Program *p) {
    *inputs = (ProgramInputs){.n = p->context, .names = calloc(p->context + 1, sizeof(char *)), .smooth = calloc(p->context + 1, 1)};
    if (!inputs->names || !inputs->smooth) return false;
    for (uint32_t i = 0; i < p->context; i++) {
        inputs->smooth[i] = p->binders[i].smooth;
        inputs->names[i] = strdup(sym_name(cx, p->binders[i].name));
        if (!inputs->names[i]) return false;
    }
    return true;
}

bool inputs_read(ProgramInputs *inputs, const unsigned char *canonical, size_t len) {
    Cx cx;
    cx_init(&cx);
    *inputs = (ProgramInputs){0};
    /* Malloced meanwhile, as nothing here unwinds once canon_read is through. */
    CX_TRY(&cx) {
        if (!copy_inputs(inputs, &cx, canon_read(&cx, canonical, len))) cx_fail(&cx, ERR_internal, AT_NOWHERE, NULL, "Memory is short.");
    }
    bool ok = cx.diag.code == ERR_NONE;
    cx_release(&cx);
    return ok;
}

size_t inputs_bytes(const ProgramInputs *inputs) {
    size_t bytes = heap_bytes(inputs->names) + heap_bytes(inputs->smooth);
    for (uint32_t i = 0; inputs->names && i < inputs->n; i++) bytes += heap_bytes(inputs->names[i]);
    return bytes;
}

void inputs_release(ProgramInputs *inputs) {
    for (uint32_t i = 0; inputs->names && i < inputs->n; i++) free(inputs->names[i]);
    free(inputs->names);
    free(inputs->smooth);
    *inputs = (ProgramInputs){0};
}
