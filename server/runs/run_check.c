#include "server/runs/run_check.h"
#include "schema/formats/elements.h"
#include "schema/formats/safetensors.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { CHUNK = 64 * 1024, POINTER = 2 * LIMIT_RUN_NAME + 32 };

static bool no_memory(Err *err) { return err_set(err, ERR_internal, "Memory is short."); }

/* ---- columns ---- */

/* So far from 0 or 1 a scale with few digits may lead. */
#define PROBABILITY_SLACK 1e-5

/* CLASSES: from 0 to below `places`; PROBABILITIES: from 0 to 1 once scaled; NUMBERS: scaled, they have a place in the run's dtype. */
typedef enum { CLASSES, PROBABILITIES, NUMBERS } ValuesKind;

/* A column, and what its values are to be. */
typedef struct {
    const RunDataFacts *data;
    int fd;
    const ColumnMsg *column;
    const char *pointer;
    ValuesKind kind;
    int64_t places;
    SpecColumn used;
    bool f64;         /* the run's dtype */
} Values;

static int64_t integer_at(const unsigned char *at, uint8_t dtype) {
    if (dtype != DT_I64) return *at;
    Reader in = reader_of(at, sizeof(int64_t));
    return (int64_t)read_u64(&in);
}

static double number_at(const unsigned char *at, uint8_t dtype) {
    float f;
    double d;
    if (dtype == DT_F32) return memcpy(&f, at, sizeof f), f;
    if (dtype == DT_F64) return memcpy(&d, at, sizeof d), d;
    return (double)integer_at(at, dtype);
}

static double scaled_at(const Values *v, const unsigned char *at) { return number_at(at, v->column->dtype) * v->used.scale + v->used.shift; }

static bool has_place(const Values *v, double number) { return isfinite(number) && (v->f64 || !element_beyond_f32(number)); }

/* What is not finite in the file stays so: training names it (on_nonfinite). */
static bool fits(const Values *v, const unsigned char *at) {
    if (v->kind == CLASSES) {
        const int64_t place = integer_at(at, v->column->dtype);
        return place >= 0 && place < v->places;
    }
    const double used = scaled_at(v, at);
    if (v->kind == NUMBERS) return has_place(v, used) || !isfinite(number_at(at, v->column->dtype));
    return used >= -PROBABILITY_SLACK && used <= 1 + PROBABILITY_SLACK;
}

/* No element of the column's dtype can leave the run's. */
static bool always_fits(const Values *v) {
    static const double largest[DT_COUNT] = {[DT_F32] = FLT_MAX, [DT_F64] = DBL_MAX, [DT_I64] = 0x1p63, [DT_U8] = UINT8_MAX, [DT_BOOL] = 1};
    return v->kind == NUMBERS && has_place(v, largest[v->column->dtype] * fabs(v->used.scale) + fabs(v->used.shift));
}

static bool refuse(const Values *v, const unsigned char *at, uint64_t row, Err *err) {
    const ColumnMsg *c = v->column;
    const int len = (int)c->name_len;
    const char *name = (const char *)c->name, *data = v->data->name;
    const unsigned long long line = row;
    if (v->kind == NUMBERS)
        return err_at(err, ERR_bad_run, v->pointer, "The column \"%.*s\" of \"%s\" has %.9g in row %llu, %.9g once scaled, and %s.", len, name, data,
                      number_at(at, c->dtype), line, scaled_at(v, at),
                      v->f64 ? "f64 ends at 1.79769313e+308" : "f32 ends at 3.40282347e+38; give the run \"dtype\": \"f64\"");
    if (v->kind == CLASSES)
        return err_at(err, ERR_bad_run, v->pointer, "The column \"%.*s\" of \"%s\" has %lld in row %llu; here it is from 0 to %lld.", len, name,
                       data, (long long)integer_at(at, c->dtype), line, (long long)v->places - 1);
    return err_at(err, ERR_bad_run, v->pointer, "The column \"%.*s\" of \"%s\" is %g in row %llu; as a target of bce it is from 0 to 1.", len,
                   name, data, scaled_at(v, at), line);
}

static bool check_values(const Values *v, Err *err) {
    if (!v->column || always_fits(v)) return true;
    const ColumnMsg *c = v->column;
    const size_t size = dtype_size((DType)c->dtype);
    const uint64_t row = column_elements(c), all = row * v->data->rows; /* of a file that is there */
    unsigned char *chunk = malloc(CHUNK);
    bool ok = chunk || no_memory(err);
    for (uint64_t done = 0; ok && done < all;) {
        const size_t n = all - done < CHUNK / size ? (size_t)(all - done) : CHUNK / size;
        if (pread(v->fd, chunk, n * size, (off_t)(c->offset + done * size)) != (ssize_t)(n * size))
            ok = err_set(err, ERR_internal, "The data set %s cannot be read.", v->data->name);
        for (size_t i = 0; ok && i < n; i++, done++) ok = fits(v, chunk + i * size) || refuse(v, chunk + i * size, done / row, err);
    }
    free(chunk);
    return ok;
}

/* The target of bce; one integer a row, which is read as a basis vector unless it is bound to a number; and numbers. */
static bool check_column(const RunCheck *c, Json *json, JsonNode node, Err *err) {
    const JsonNode name = json_get(node, "name"), type = json_get(node, "type"), shape = json_get(node, "shape");
    if (!name || !type || !shape || json_kind(name) != JSON_STRING || json_kind(type) != JSON_STRING) return true;
    Values v = {.data = &c->data->train, .fd = c->train->fd, .column = run_data_column(&c->data->train, name->valuestring), .pointer = "/data/train", .kind = NUMBERS,
                .used = spec_column(c->spec, name->valuestring), .f64 = c->spec->dtype == DT_F64};
    const JsonNode places = *type->valuestring == 'R' || json_count(json, shape) != 1 ? NULL : json_items(json, shape);
    if (json_get(node, "probability")) {
        v.kind = PROBABILITIES;
    } else if (places && v.column && !v.column->rank) {
        v.kind = CLASSES;
        v.places = (int64_t)places->valuedouble;
    }
    if (!check_values(&v, err)) return false;
    v.data = &c->data->test;
    v.fd = c->test->fd;
    v.column = run_data_column(&c->data->test, name->valuestring);
    v.pointer = "/data/test";
    return check_values(&v, err);
}

/* ---- weights ---- */

/* An opened checkpoint's tensors. */
static bool read_file(const LaunchFile *file, Bulk *out, Err *err) {
    Err why = {0};
    void *map = mmap(NULL, file->chosen.bytes, PROT_READ, MAP_PRIVATE, file->fd, 0);
    if (map == MAP_FAILED) return err_set(err, ERR_internal, "The checkpoint cannot be read.");
    const bool ok = safetensors_read(map, file->chosen.bytes, out, &why) && bulk_all_plain(out, &why);
    munmap(map, file->chosen.bytes);
    return ok || err_set(err, ERR_internal, "The checkpoint does not read: %s", why.message);
}

typedef struct {
    const LaunchFile *file;
    Err *err;
} Unusable;

static void refuse_source(void *arg, const char *id, const char *pointer) {
    const Unusable *u = arg;
    if (u->err->code || strcmp(id, u->file->id) != 0) return;
    if (u->file->damaged)
        err_at(u->err, ERR_damaged, pointer, "The newest checkpoint of the run %s, of step %llu, is damaged.", id, (unsigned long long)u->file->chosen.step);
    else err_at(u->err, ERR_bad_run, pointer, "The run %s has no checkpoint that can be used.", id);
}

static bool read_source(const RunCheck *c, LaunchFile *file, Bulk *out, Err *err) {
    /* What is missing was pruned at this moment, and for what is checked here another will do. */
    if (launch_file_open(c->server, file, OLDER_WHEN_MISSING)) return read_file(file, out, err);
    if (file->cause) return failure_short_err(err, file->cause);
    spec_each_run(c->spec, refuse_source, &(Unusable){file, err});
    return false;
}

static bool read_begin(const RunCheck *c, Bulk *out, Err *err) {
    const unsigned long long step = c->begin->rows->step;
    if (launch_file_open(c->server, c->begin, OLDER_NEVER)) return read_file(c->begin, out, err);
    if (c->begin->cause) return failure_short_err(err, c->begin->cause);
    if (c->begin->damaged) return err_at(err, ERR_damaged, "/from_step", "The checkpoint of step %llu is damaged.", step);
    return err_at(err, ERR_conflict, "/from_step", "The checkpoint of step %llu was pruned at this moment.", step);
}

static const BulkTensor *tensor_named(const Bulk *bulk, const char *name) {
    for (size_t i = 0; i < bulk->n; i++)
        if (strcmp(bulk->items[i].name, name) == 0) return &bulk->items[i];
    return NULL;
}

static bool has_shape(Json *json, JsonNode shape, const BulkTensor *t) {
    size_t axis = 0;
    if (json_count(json, shape) != t->rank) return false;
    for (JsonNode at = json_items(json, shape); at; at = at->next, axis++)
        if (at->valuedouble != (double)t->shape[axis]) return false;
    return axis == t->rank;
}

/* "bind.f" is /bind/f/weights, "nets.n.0.bias" /nets/n/weights. */
static void place_of(const char *weight, char out[POINTER]) {
    const bool net = strncmp(weight, "nets.", 5) == 0;
    char *at = stpcpy(out, net ? "/nets/" : "/bind/");
    for (weight += 5; *weight && !(net && *weight == '.') && at < out + POINTER - 16; weight++) {
        if (*weight == '~' || *weight == '/') at = stpcpy(at, *weight == '~' ? "~0" : "~1");
        else *at++ = *weight;
    }
    strcpy(at, "/weights");
}

static uint32_t source_of(const RunCheck *c, const char *id) {
    uint32_t i = 0;
    while (i < c->data->nsources && strcmp(c->data->sources[i], id) != 0) i++;
    return i;
}

static bool check_taken(const RunCheck *c, Json *json, JsonNode weight, const Bulk *sources, Err *err) {
    char pointer[POINTER];
    const JsonNode from = json_get(weight, "from"), name = json_get(weight, "name");
    if (!from || !name) return true;
    const JsonNode run = json_get(from, "run"), theirs = json_get(from, "name");
    const uint32_t source = run ? source_of(c, run->valuestring) : c->data->nsources;
    if (source == c->data->nsources || !theirs) return err_set(err, ERR_internal, "A worker's reply was malformed.");
    const BulkTensor *t = tensor_named(&sources[source], theirs->valuestring);
    if (t && has_shape(json, json_get(weight, "shape"), t)) return true;
    place_of(name->valuestring, pointer);
    return err_at(err, ERR_bad_run, pointer, t ? "The weight \"%.100s\" of the run %s has another shape than \"%.100s\" here."
                                                : "There is no weight \"%.100s\" in the run %s for \"%.100s\".",
                   theirs->valuestring, run->valuestring, name->valuestring);
}

/* Every weight in its shape and the run's dtype, and no other. */
static bool check_begin(const RunCheck *c, Json *json, JsonNode weights, const Bulk *begin, Err *err) {
    size_t known = 0, others = 0;
    for (JsonNode at = json_items(json, weights); at; at = at->next) {
        const JsonNode name = json_get(at, "name");
        const BulkTensor *t = name ? tensor_named(begin, name->valuestring) : NULL;
        if (!t || t->dtype != c->spec->dtype || !has_shape(json, json_get(at, "shape"), t))
            return err_at(err, ERR_bad_run, "/from_step", "The checkpoint of step %llu has no weight \"%.100s\" of this shape and dtype.",
                           (unsigned long long)c->begin->chosen.step, name ? name->valuestring : "");
        known++;
    }
    for (size_t i = 0; i < begin->n; i++) others += strncmp(begin->items[i].name, "optimizer.", 10) == 0;
    return known + others == begin->n || err_at(err, ERR_bad_run, "/from_step", "The checkpoint of step %llu has weights that this run has not.",
                                                 (unsigned long long)c->begin->chosen.step);
}

static bool check_weights(const RunCheck *c, Json *json, JsonNode weights, Err *err) {
    Bulk sources[LIMIT_RUN_SOURCES] = {{0}}, begin = {0};
    bool ok = true;
    for (uint32_t i = 0; ok && i < c->data->nsources; i++) ok = read_source(c, &c->sources[i], &sources[i], err);
    for (JsonNode at = ok ? json_items(json, weights) : NULL; at && ok; at = at->next) ok = check_taken(c, json, at, sources, err);
    if (ok && c->begin) ok = read_begin(c, &begin, err) && check_begin(c, json, weights, &begin, err);
    for (uint32_t i = 0; i < LIMIT_RUN_SOURCES; i++) bulk_release(&sources[i]);
    bulk_release(&begin);
    return ok;
}

/* ---- data sets ---- */

/* A run that trained on something else would record a hash that its data do not have. */
static bool check_file(const RunCheck *c, Dataset *d, const char *pointer, Err *err) {
    Err why = {0};
    return d->fd < 0 || dataset_files_verify(c->server->dataset_files, d, c->stop, &why) || err_at(err, why.code, pointer, "%s", why.message);
}

/* ---- all ---- */

static bool check_facts(const RunCheck *c, Json *json, Err *err) {
    const JsonNode columns = json_get(json->root, "columns"), weights = json_get(json->root, "weights");
    if (!columns || !weights) return err_set(err, ERR_internal, "A worker's reply was malformed.");
    for (JsonNode at = json_items(json, columns); at; at = at->next)
        if (!check_column(c, json, at, err)) return false;
    return check_weights(c, json, weights, err);
}

bool run_check(const RunCheck *c, Err *err) {
    Json json = {0};
    Buf text;
    if (c->begin && c->begin->rows->step > c->steps)
        return err_at(err, ERR_bad_run, "/from_step", "The run has only %llu steps.", (unsigned long long)c->steps);
    if (!check_file(c, c->train, "/data/train", err) || !check_file(c, c->test, "/data/test", err)) return false;
    buf_init(&text);
    buf_printf(&text, "{%s}", c->facts);
    const bool ok = (!text.failed || no_memory(err)) && json_parse(&json, (const char *)text.data, text.len, err) && check_facts(c, &json, err);
    json_release(&json);
    buf_release(&text);
    return ok;
}
