#include "compiler/training/link_inside.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* ---- failures, shapes ---- */

void link_fail(Link *k, ErrCode code, const char *pointer, const char *format, ...) {
    char message[800];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    snprintf(k->pointer, LINK_POINTER, "%s", pointer);
    cx_fail(k->cx, code, AT_NOWHERE, NULL, "%s", message);
}

const char *link_dims(Link *k, const Dims *dims) {
    char text[LIMIT_GRAPH_RANK * 11 + 3];
    size_t n = (size_t)snprintf(text, sizeof text, "[");
    for (uint32_t i = 0; i < dims->rank; i++) n += (size_t)snprintf(text + n, sizeof text - n, i ? ",%u" : "%u", dims->at[i]);
    snprintf(text + n, sizeof text - n, "]");
    return arena_strndup(&k->cx->arena, text, strlen(text));
}

size_t link_size(Link *k, const Dims *dims, const char *pointer) {
    size_t size;
    if (!dims_size(dims->at, dims->rank, &size))
        link_fail(k, ERR_too_large, pointer, "A tensor of shape %s would have more than %zu elements.", link_dims(k, dims), LIMIT_SPACE);
    return size;
}

Dims link_shape(Link *k, const Type *type, const char *pointer) {
    size_t shape[LIMIT_TYPE_RANK];
    Dims dims = {.rank = (uint32_t)type_shape(type, shape)};
    if (dims.rank > LAYER_RANK)
        link_fail(k, ERR_shape_mismatch, pointer, "%s has more than %d axes.", type_text(k->cx, type), LAYER_RANK);
    if (type->dim > LIMIT_SPACE)
        link_fail(k, ERR_too_large, pointer, "A tensor of type %s would have more than %zu elements.", type_text(k->cx, type), LIMIT_SPACE);
    for (uint32_t i = 0; i < dims.rank; i++) dims.at[i] = (uint32_t)shape[i];
    return dims;
}

/* ---- nodes ---- */

uint32_t link_input(Rewrite *rw, SlotRole role, uint32_t index, size_t size) {
    const int64_t slot = graph_slot(rw->to, role, index, size);
    const Dims flat = {.rank = 1, .at = {(uint32_t)size}};
    return rewrite_node(rw, OP_input, NULL, 0, &flat, &slot, 1);
}

uint32_t link_const(Rewrite *rw, const double *data, size_t n) {
    const uint32_t size = (uint32_t)n, node = graph_const(rw->to, data, &size, 1);
    if (rw->to->failed) cx_fail(rw->cx, ERR_too_large, AT_NOWHERE, NULL,
                                "The linked graph would be too large: %zu numbers more are constant.", n);
    return node;
}

uint32_t link_map(Rewrite *rw, uint32_t x, Function function, double p0, double p1) {
    const FunctionRow *row = function_row(function);
    const Dims dims = dims_of(rw->to, x);
    /* A parameter that the function does not have is 0. */
    const int64_t attrs[] = {function, row->parameter[0][0] ? attr_bits(p0) : 0, row->parameter[1][0] ? attr_bits(p1) : 0};
    return rewrite_node(rw, OP_map, &x, 1, &dims, attrs, 3);
}
