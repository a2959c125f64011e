/* Values as callers write them (api.md, Evaluate) to tensors as workers take them.
 *
 * Shapes: a value of type τ has type_shape(τ), or one more leading axis, the batch; the first axis of the shape may be shorter where
 * the type's final codomain is N (by whole multiples of what remains of the codomain): the worker pads with zeros.
 * Errors: shape_mismatch, bad_tensor, nat_bound_exceeded; messages name the value by `name`. */
#ifndef CAJAL_VALUE_H
#define CAJAL_VALUE_H
#include "compiler/language/type.h"
#include "schema/formats/bulk.h"
#include "schema/formats/json.h"

/* PLAIN: api.md's values. COLUMN: a data set's column, of any dtype that one may have. NUMBERS: one with a number a row, of shape [] or [rows]
 * (also as the type has it): a real number, or which basis vector. */
typedef enum { VALUE_PLAIN, VALUE_COLUMN, VALUE_NUMBERS } ValueForm;

typedef struct {
    uint8_t dtype, discrete; /* as in TensorMsg */
    bool batched;
    const BulkTensor *tensor; /* data are its bytes, of which value_copy makes elements of dtype; NULL: they are such elements already */
    size_t rows, cols;       /* rows: 1 when not batched; cols: elements a row, 1 when discrete */
    const void *data;        /* rows × cols elements */
    void *owned;             /* data, when it was made here; value_release */
} Value;

/* A JSON value. `pointer` is its place in the body, `name` what messages call it. type is a sized vector type. */
bool value_of_json(Json *json, JsonNode node, const Type *type, ValueForm form, const char *name, const char *pointer, Value *out, Err *err);
/* A binary tensor; data point into the body, and the value may point to the tensor. */
bool value_of_bulk(const BulkTensor *tensor, const unsigned char *body, const Type *type, ValueForm form, const char *name, Value *out, Err *err);
/* value_bytes(v) to `to`, which is aligned, as elements of dtype; data: where v->data lie now. */
void value_copy(const Value *v, const void *data, void *to);
/* Every element of rows × cols is `v`. False when memory is short. */
bool value_fill(Value *out, size_t rows, size_t cols, double v);
/* Every number of it has its place in f32; bad_tensor names the first that has not. */
bool value_fits_f32(const Value *v, const char *name, const char *pointer, Err *err);
void value_release(Value *value);
size_t value_bytes(const Value *value);
#endif
