/* Memory that runs out: each scenario is run with its first, second, third … allocation failing, until one run needs fewer; once
 * with only that allocation failing and once with all after it failing too. Every run ends in the same answer as without a
 * fault or in a clean refusal, and leaves nothing allocated.
 * The Makefile links this program with --wrap for the allocation functions, so that only our code's calls fail, and cJSON's. */
#include "compiler/language/canon.h"
#include "compiler/derive/derive.h"
#include "compiler/lower/compile.h"
#include "compiler/passes/optimise.h"
#include "compiler/language/syntax.h"
#include "schema/base/map.h"
#include "schema/formats/npy.h"
#include "schema/formats/safetensors.h"
#include "server/data/draft.h"
#include "worker/protocol/build_job.h"
#include "worker/protocol/exec_job.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

/* ---- allocation ---- */

/* File scope because the wrapped functions have no other way to it. */
static struct {
    bool armed, sticky, hit;
    size_t left; /* allocations until the one that fails */
    long live;   /* blocks allocated while armed or before, and not freed */
} fault;

static bool fails(void) {
    if (!fault.armed || (fault.hit && !fault.sticky)) return false;
    if (!fault.hit && fault.left-- > 0) return false;
    fault.hit = true;
    return true;
}

static void *counted(void *block) {
    fault.live += block != NULL;
    return block;
}

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *block, size_t size);
void *__real_aligned_alloc(size_t align, size_t size);
char *__real_strdup(const char *text);
void __real_free(void *block);

void *__wrap_malloc(size_t size) { return fails() ? NULL : counted(__real_malloc(size)); }
void *__wrap_calloc(size_t count, size_t size) { return fails() ? NULL : counted(__real_calloc(count, size)); }
void *__wrap_aligned_alloc(size_t align, size_t size) { return fails() ? NULL : counted(__real_aligned_alloc(align, size)); }
char *__wrap_strdup(const char *text) { return fails() ? NULL : counted(__real_strdup(text)); }

void *__wrap_realloc(void *block, size_t size) {
    if (fails()) return NULL;
    void *grown = __real_realloc(block, size);
    fault.live += !block && grown;
    return grown;
}

void __wrap_free(void *block) {
    fault.live -= block != NULL;
    __real_free(block);
}

/* ---- the loop ---- */

/* Appends the answer's bytes; false: a clean refusal. */
typedef bool (*Scenario)(const void *what, Buf *answer);

/* The answer under a fault at allocation n; the answer's own buffer is spared. */
static bool run_with(Scenario scenario, const void *what, size_t n, bool sticky, Buf *answer) {
    long before = fault.live;
    buf_clear(answer);
    fault.left = n;
    fault.sticky = sticky;
    fault.hit = false;
    fault.armed = true;
    bool answered = scenario(what, answer);
    fault.armed = false;
    if (fault.live != before) fail_msg("allocation %zu failing leaves %ld blocks behind", n, fault.live - before);
    return answered;
}

static void check(const char *name, Scenario scenario, const void *what) {
    Buf want, got;
    buf_init(&want);
    buf_init(&got);
    assert_true(buf_reserve(&want, 1 << 20) && buf_reserve(&got, 1 << 20));
    if (!run_with(scenario, what, SIZE_MAX, false, &want)) fail_msg("%s: no answer without a fault", name);
    size_t n = 0, refused = 0;
    for (fault.hit = true; fault.hit; n++) {
        bool all = true;
        for (int sticky = 0; sticky < 2; sticky++) {
            const bool answered = run_with(scenario, what, n, sticky, &got);
            if (answered && (got.len != want.len || memcmp(got.data, want.data, want.len)))
                fail_msg("%s: another answer when allocation %zu fails", name, n);
            all = all && answered;
        }
        refused += !all;
    }
    printf("%s: %zu allocations, %zu refusals\n", name, n - 1, refused);
    assert_true(n > 1 && refused > 0);
    buf_release(&want);
    buf_release(&got);
}

/* A compilation's end: no diagnostic, or one that says that memory is short. */
static bool ended_well(const Cx *cx) {
    if (!cx->diag.code) return true;
    if ((cx->diag.code != ERR_too_large && cx->diag.code != ERR_internal) || !cx->diag.message)
        fail_msg("out of memory is reported as %s: %s", err_name(cx->diag.code), cx->diag.message ? cx->diag.message : "");
    return false;
}

/* ---- compiling ---- */

static const char *const programs[] = {
    "\\x:2. if x then false else true",
    "m : !N |- \\n:N. iter {0 | y -> iter {y | z -> succ z} (m)} (n)",
    "f : !(R[2] -o N -o 2), x : !R[2] |- let g = \\y:!2. if y then f x 3 else f x 1 in if g true then g false else true",
    "\\f:(2 -o N[3]) -o 2. f (\\b:2. if b then 1 else 2)",
    "b : 2 |- (if b then \\x:N[4]. x else \\x:N[5]. succ x) 3",
};

typedef struct {
    Cx cx;
    const unsigned char *bytes;
    size_t len;
    Graph *volatile graphs[3];
} Compilation;

static void compile(Compilation *c, const char *source) {
    Signature sig;
    Cx *cx = &c->cx;
    Program *p = program_new(cx, NAT_DEFAULT);
    syntax_text(cx, p, source, strlen(source));
    check_program(cx, p);
    c->bytes = canon_write(cx, p, &c->len);
    p = canon_read(cx, c->bytes, c->len);
    c->graphs[0] = compile_lower(cx, p, check_program(cx, p), UINT32_MAX, &sig);
    c->graphs[1] = derive_graph_vjp(cx, c->graphs[0]);
    c->graphs[2] = derive_graph_jvp(cx, c->graphs[0]);
}

/* The graph's file form, read, optimised, printed and written again. */
static bool pass_graph(const Graph *g, Buf *answer) {
    char why[200];
    Buf file, shown;
    Cx cx;
    buf_init(&file);
    buf_init(&shown);
    cx_init(&cx);
    bool ok = graph_write(g, &file);
    Graph *read = ok ? graph_read(file.data, file.len, why, sizeof why) : NULL, *volatile better = NULL;
    if (read) {
        CX_TRY(&cx) better = optimise_graph(&cx, read);
    }
    ok = read && ended_well(&cx) && graph_write(better, answer);
    if (ok) {
        graph_json(&shown, better);
        graph_dot(&shown, better);
        ok = !shown.failed;
    }
    graph_free(better);
    graph_free(read);
    buf_release(&file);
    buf_release(&shown);
    cx_release(&cx);
    return ok;
}

static bool compiles(const void *what, Buf *answer) {
    Compilation c = {0};
    cx_init(&c.cx);
    CX_TRY(&c.cx) compile(&c, what);
    bool ok = ended_well(&c.cx);
    for (int i = 0; ok && i < 3; i++) ok = pass_graph(c.graphs[i], answer);
    if (ok) buf_put(answer, c.bytes, c.len);
    for (int i = 0; i < 3; i++) graph_free(c.graphs[i]);
    cx_release(&c.cx);
    return ok;
}

static void test_compile(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++) check(programs[i], compiles, programs[i]);
}

/* A diagnostic with two places, shown. */
static bool diagnoses(const void *what, Buf *answer) {
    const char *source = what;
    Program *volatile p = NULL;
    Cx cx;
    cx_init(&cx);
    CX_TRY(&cx) {
        p = program_new(&cx, NAT_DEFAULT);
        syntax_text(&cx, p, source, strlen(source));
        check_program(&cx, p);
    }
    assert_int_not_equal(cx.diag.code, ERR_NONE);
    bool same = cx.diag.code == ERR_linear_reused || ended_well(&cx);
    Buf shown;
    buf_init(&shown);
    syntax_render(&shown, &cx, p, &cx.diag);
    if (p) buf_u32(answer, syntax_locate(p, cx.diag.at).column);
    same = same && !shown.failed;
    buf_release(&shown);
    cx_release(&cx);
    return same;
}

static void test_diagnostic(void **state) {
    (void)state;
    check("diagnostic", diagnoses, "\\x:2.\n if x then x else\n true");
}

/* ---- JSON and binary bodies ---- */

static bool reads_json(const void *what, Buf *answer) {
    const char *body = what;
    Json json;
    Err err = {0};
    Tensor t = {0};
    if (!json_parse(&json, body, strlen(body), &err)) {
        assert_true(err.code == ERR_too_large || err.code == ERR_internal);
        return false;
    }
    JsonNode term = json_get(json.root, "term"), data = json_get(json.root, "data");
    bool ok = json_numbers(&json, data, &t, &err);
    if (ok) json_put_tensor(answer, t.data, true, t.shape, t.rank);
    else assert_true(err.code == ERR_too_large || err.code == ERR_internal);
    tensor_release(&t);
    size_t items = 0;
    for (JsonNode at = json_items(&json, data); at; at = at->next) items++;
    ok = ok && items == 2;
    Cx cx;
    cx_init(&cx);
    CX_TRY(&cx) {
        Program *p = program_new(&cx, NAT_DEFAULT);
        syntax_json_context(&cx, p, &json, json_get(json.root, "context"));
        syntax_json_term(&cx, p, &json, term);
        syntax_print_json(answer, &cx, p);
    }
    ok = ended_well(&cx) && ok && !answer->failed;
    cx_release(&cx);
    json_release(&json);
    return ok;
}

static void test_json(void **state) {
    (void)state;
    cJSON_InitHooks(&(cJSON_Hooks){__wrap_malloc, __wrap_free});
    check("json", reads_json,
          "{\"term\":{\"app\":[\"f\",{\"fun\":\"x\",\"type\":\"N\",\"body\":\"x\"},3]},\"context\":{\"f\":\"!((N -o N) -o N -o 2)\"},\"data\":[[1,2.5],[\"NaN\",-4]]}");
    cJSON_InitHooks(NULL);
}

static bool reads_bulk(const void *what, Buf *answer) {
    static const char header[] = "{\"args.0\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[2,3]}}";
    (void)what;
    Buf body;
    Bulk bulk;
    Err err = {0};
    buf_init(&body);
    buf_u64(&body, sizeof header - 1);
    buf_puts(&body, header);
    buf_puts(&body, "abc");
    bool ok = !body.failed && safetensors_read(body.data, body.len, &bulk, &err);
    if (ok) {
        safetensors_put_header(answer, bulk.items, bulk.n);
        ok = !answer->failed;
        bulk_release(&bulk);
    }
    buf_clear(&body);
    npy_put_header(&body, DT_U8, (size_t[]){1}, 1);
    buf_putc(&body, 'x');
    bool read = !body.failed && npy_read(body.data, body.len, &bulk, &err);
    if (read) bulk_release(&bulk);
    buf_release(&body);
    return ok && read;
}

static void test_bulk(void **state) {
    (void)state;
    cJSON_InitHooks(&(cJSON_Hooks){__wrap_malloc, __wrap_free});
    check("bulk", reads_bulk, NULL);
    cJSON_InitHooks(NULL);
}

/* ---- data sets ---- */

static bool stores(const unsigned char *body, size_t len, const char *column, const Dataset *base, Dataset *out) {
    static const atomic_bool go_on = false;
    char path[] = "/tmp/cajal-faults-XXXXXX", sha256[DATASET_SHA + 1];
    Draft draft;
    Err err = {0};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    bool ok = draft_read(&draft, body, len, column, &err) && (!base || draft_add(&draft, base, &err)) &&
              draft_write(&draft, fd, &go_on, sha256, &err) && dataset_read(fd, out, &err);
    if (!ok) {
        assert_int_equal(err.code, ERR_internal);
        close(fd);
    }
    draft_release(&draft);
    return ok;
}

static bool adds_a_column(const void *what, Buf *answer) {
    static const unsigned char x[] = {0, 0, 8, 1, 0, 0, 0, 2, 1, 2}, y[] = {0, 0, 11, 1, 0, 0, 0, 2, 0xff, 0xff, 1, 0};
    Dataset first = {.fd = -1}, both = {.fd = -1};
    (void)what;
    bool ok = stores(x, sizeof x, "x", NULL, &first) && stores(y, sizeof y, "y", &first, &both) && dataset_put_rows(answer, &both, 0, 2);
    dataset_release(&first);
    dataset_release(&both);
    return ok && !answer->failed;
}

static void test_dataset(void **state) {
    (void)state;
    cJSON_InitHooks(&(cJSON_Hooks){__wrap_malloc, __wrap_free});
    check("data set", adds_a_column, NULL);
    cJSON_InitHooks(NULL);
}

static ErrCode collect(void *arg, const void *bytes, size_t len) {
    buf_put(arg, bytes, len);
    return ((Buf *)arg)->failed ? ERR_internal : ERR_NONE;
}

/* Of numpy's own: one member stored, one deflated. zlib's memory is its own. */
static bool reads_npz(const void *what, Buf *answer) {
    const Buf *file = what;
    Npz npz;
    Draft draft = {.base = -1};
    Err err = {0};
    Buf unpacked;
    buf_init(&unpacked);
    const bool ok = npz_unpack(&npz, file->data, file->len, 1 << 20, collect, &unpacked, &err) && npz_read(&npz, file->data, unpacked.data, &err) &&
                    draft_read_npz(&draft, &npz, NULL, &err);
    if (ok) buf_printf(answer, "%zu columns of %zu rows", draft.n, (size_t)draft.rows);
    else assert_int_equal(err.code, ERR_internal);
    draft_release(&draft);
    npz_release(&npz);
    buf_release(&unpacked);
    return ok && !answer->failed;
}

static void test_npz(void **state) {
    (void)state;
    static const char *const names[] = {"tests/fuzz/corpus/npz/stored", "tests/fuzz/corpus/npz/deflated"};
    for (size_t i = 0; i < 2; i++) {
        unsigned char bytes[4096];
        FILE *f = fopen(names[i], "rb");
        assert_non_null(f);
        Buf file = {.data = bytes, .len = fread(bytes, 1, sizeof bytes, f)};
        fclose(f);
        check(names[i], reads_npz, (const void *)&file);
    }
}

/* ---- base ---- */

static bool maps(const void *what, Buf *answer) {
    (void)what;
    static const char *const values[] = {"a", "b", "c"};
    Map map;
    map_init(&map);
    bool ok = true;
    for (uint32_t i = 0; ok && i < 100; i++) ok = map_put(&map, &i, sizeof i, (void *)values[i % 3]);
    for (uint32_t i = 0; ok && i < 100; i++) buf_puts(answer, map_get(&map, &i, sizeof i));
    map_release(&map);
    return ok;
}

static void test_map(void **state) {
    (void)state;
    check("map", maps, NULL);
}

/* ---- frames ---- */

/* Through a socket, once in the packet and once in a memfd. */
static bool sends(const void *what, Buf *answer) {
    const size_t len = *(const size_t *)what;
    int pair[2];
    Frame frame;
    LoadMsg m;
    Buf body;
    buf_init(&body);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    unsigned char *graph = calloc(len, 1);
    if (graph) wire_put_load(&body, &(LoadMsg){.key = 7, .graph = graph, .graph_len = len});
    int sent = graph ? wire_send(pair[0], FRAME_load, 3, &body, -1) : -ENOMEM;
    assert_true(sent == 0 || sent == -ENOMEM);
    int got = sent ? -ENOMEM : wire_recv(pair[1], &frame);
    assert_true(got == 1 || got == -ENOMEM);
    if (got == 1) {
        assert_true(wire_get_load(&frame, &m));
        assert_int_equal(m.graph_len, len);
        buf_u64(answer, m.key);
        frame_release(&frame);
    }
    free(graph);
    buf_release(&body);
    close(pair[0]);
    close(pair[1]);
    return got == 1;
}

static bool gets_run(const void *what, Buf *answer) {
    (void)what;
    Buf body;
    ExecMsg m;
    TensorMsg tensor = {.dtype = DT_F64, .cols = 2};
    ResultMsg result = {.offset = 16};
    buf_init(&body);
    wire_put_exec(&body, &(ExecMsg){.key = 1, .dtype = DT_F64, .rows = 1, .area_size = 32, .results_at = 16, .ntensors = 1, .nresults = 1,
                                  .tensors = &tensor, .results = &result, .inline_area = (const unsigned char[16]){1}, .inline_len = 16});
    bool ok = !body.failed && wire_get_exec(&(Frame){.type = FRAME_exec, .body = body.data, .len = body.len, .area = -1}, &m);
    if (ok) {
        wire_put_exec(answer, &m);
        exec_msg_release(&m);
    }
    buf_release(&body);
    return ok;
}

static void test_wire(void **state) {
    (void)state;
    check("short frame", sends, &(size_t){100});
    check("long frame", sends, &(size_t){WIRE_PACKET * 2});
    check("run message", gets_run, NULL);
}

/* ---- the worker ---- */

typedef struct {
    Derive derive;
    unsigned char *program;
    size_t len;
} Job;

static Job job_of(const char *source, Derive derive) {
    Job job = {.derive = derive};
    Cx cx;
    cx_init(&cx);
    CX_TRY(&cx) {
        Program *p = program_new(&cx, NAT_DEFAULT);
        syntax_text(&cx, p, source, strlen(source));
        check_program(&cx, p);
        const unsigned char *bytes = canon_write(&cx, p, &job.len);
        job.program = memcpy(malloc(job.len), bytes, job.len);
    }
    assert_int_equal(cx.diag.code, ERR_NONE);
    cx_release(&cx);
    return job;
}

/* A body whose put may have failed, as the frame it would be. */
static Frame frame_of(FrameType type, const Buf *body) { return (Frame){.type = type, .body = body->data, .len = body->len, .area = -1}; }

static bool builds(const void *what, Buf *answer) {
    const Job *job = what;
    Workspace w = {0};
    Buf out;
    buf_init(&out);
    build_job_answer(&(BuildMsg){.program = job->program, .program_len = job->len, .nargs = WIRE_ALL_ARGS, .derive = job->derive, .verify = true}, &w, &out);
    workspace_release(&w);
    bool ok = !out.failed;
    if (ok) {
        Frame frame = frame_of(FRAME_built, &out);
        BuiltMsg m;
        assert_true(wire_get_built(&frame, &m));
        ok = m.code == ERR_NONE && m.exhaustive == (job->derive == DERIVE_NONE);
        if (m.code != ERR_NONE) assert_true(m.code == ERR_too_large || m.code == ERR_internal);
        else buf_put(answer, m.graph, m.graph_len);
    }
    buf_release(&out);
    return ok;
}

static void test_build(void **state) {
    (void)state;
    for (int derive = DERIVE_NONE; derive <= DERIVE_JVP; derive++) {
        Job job = job_of("\\b:2. \\n:N[4]. iter {if b then 1 else 0 | y -> succ y} (n)", (Derive)derive);
        check(derive == DERIVE_VJP ? "build vjp" : derive == DERIVE_JVP ? "build jvp" : "build", builds, &job);
        free(job.program);
    }
}

typedef struct {
    Buf graph;
    uint32_t slots;
    size_t sizes[3], result; /* elements */
} Loadable;

/* Loads a graph and runs it twice on three rows, with all slots batched. */
static bool runs(const void *what, Buf *answer) {
    enum { ROWS = 3 };
    const Loadable *l = what;
    Cache cache;
    Workspace w = {0};
    Maps maps = {0};
    Err fault_said = {0};
    TensorMsg tensors[3];
    ResultMsg result = {.batched = true};
    double area[400] = {0};
    size_t at = 0;
    bool ok;
    for (uint32_t i = 0; i < l->slots; at += l->sizes[i++] * ROWS)
        tensors[i] = (TensorMsg){.slot = i, .dtype = DT_F64, .batched = true, .cols = l->sizes[i], .offset = at * sizeof(double)};
    assert_true(at <= sizeof area / sizeof *area);
    for (size_t i = 0; i < at; i++) area[i] = (double)(i % 4);
    result.offset = at * sizeof(double);
    ExecMsg m = {.key = 1, .dtype = DT_F64, .rows = ROWS, .results_at = at * sizeof(double), .area_size = (at + l->result * ROWS) * sizeof(double),
                .ntensors = l->slots, .nresults = 1, .tensors = tensors, .results = &result, .inline_area = (unsigned char *)area,
                .inline_len = at * sizeof(double)};
    cache_init(&cache);
    ok = cache_load(&cache, 1, l->graph.data, l->graph.len, &fault_said);
    for (int i = 0; ok && i < 2; i++) {
        Buf out;
        ExecAnswer reply;
        Frame frame = {.area = -1};
        ExecutedMsg ran = {0};
        buf_init(&out);
        exec_job_answer(&cache, &w, &maps, &frame, &m, &out, &reply);
        Frame sent = frame_of(FRAME_executed, &out);
        if (!out.failed) assert_true(wire_get_executed(&sent, &ran));
        ok = !out.failed && ran.code == ERR_NONE;
        if (!out.failed && ran.code != ERR_NONE) assert_true(ran.code == ERR_too_large || ran.code == ERR_internal);
        if (ok) buf_put(answer, ran.inline_results, ran.inline_len);
        area_release(&reply.area);
        buf_release(&out);
    }
    cache_release(&cache);
    workspace_release(&w);
    return ok;
}

static Loadable loadable(const char *source, Derive derive) {
    Loadable l = {0};
    Job job = job_of(source, derive);
    Workspace w = {0};
    Buf out;
    BuiltMsg m;
    char why[200];
    buf_init(&out);
    build_job_answer(&(BuildMsg){.program = job.program, .program_len = job.len, .nargs = WIRE_ALL_ARGS, .derive = derive}, &w, &out);
    Frame frame = frame_of(FRAME_built, &out);
    assert_true(wire_get_built(&frame, &m) && m.code == ERR_NONE);
    buf_put(&l.graph, m.graph, m.graph_len);
    Graph *g = graph_read(m.graph, m.graph_len, why, sizeof why);
    assert_non_null(g);
    l.slots = g->nslots;
    assert_true(l.slots <= 3);
    for (uint32_t i = 0; i < l.slots; i++) l.sizes[i] = g->slots[i].size;
    l.result = g->nodes[g->outputs[0].node].size;
    graph_free(g);
    free(job.program);
    buf_release(&out);
    workspace_release(&w);
    return l;
}

static void test_run(void **state) {
    (void)state;
    static const char *const sources[] = {"\\b:2. \\n:N[4]. iter {if b then 1 else 0 | y -> succ y} (n)", "\\f:R[3] -o R[4]. \\x:R[3]. f x"};
    for (int i = 0; i < 2; i++)
        for (int derive = DERIVE_NONE; derive <= DERIVE_VJP; derive++) {
            Loadable l = loadable(sources[i], (Derive)derive);
            check(derive ? "run vjp" : "run", runs, &l);
            buf_release(&l.graph);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compile), cmocka_unit_test(test_diagnostic), cmocka_unit_test(test_json), cmocka_unit_test(test_bulk),
        cmocka_unit_test(test_dataset), cmocka_unit_test(test_npz),
        cmocka_unit_test(test_map),     cmocka_unit_test(test_wire),       cmocka_unit_test(test_build), cmocka_unit_test(test_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
