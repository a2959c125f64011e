/* A run's specification as pure data: what is read, and every way in which it is refused, with its place. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "compiler/training/spec_read.h"
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPERIMENTS "client/experiments/specs/"

/* Quotes are ' so that the text can be read. */
static const char base[] =
    "{'name': 'small', 'program': {'source': 'f (g n) x', 'context': {'x': 'R[4,4]'}},"
    " 'nets': {'a': {'layers': ['flatten', {'linear': {'out': 3}}, 'relu']},"
    "          'b': {'inputs': ['y', 'k'], 'let': [['w', {'layers': [{'linear': {'out': 9, 'bias': false}}, {'reshape': [1, 3, 3]}], 'of': 'k'}],"
    "                                              ['z', {'conv2d_by': {'pad': 1, 'pad_value': -1}, 'of': ['y', 'w']}]],"
    "                'out': 'z', 'train': false}},"
    " 'bind': {'x': {'column': 'image'}, 'n': {'net': 'a', 'of': ['image']}, 'g': {'net': 'b'}, 'f': {'weights': {'init': 'normal', 'std': 0.5}},"
    "          'm': {'net': 'a', 'of': 'x'}},"
    " 'data': {'train': 'some', 'test': 'other', 'columns': {'image': {'scale': 0.5, 'shift': -1}}},"
    " 'loss': {'l1': {'target': 'y'}}, 'optimizer': {'adam': {'lr': 0.002, 'betas': [0.8, 0.99]}}, 'schedule': {'step': {'every': 10, 'warmup': 5}},"
    " 'clip_norm': 1.5, 'batch_size': 32, 'epochs': 10, 'seed': 7,"
    " 'evaluate': {'every': 100, 'metrics': ['loss', 'psnr'], 'rows': 2048}, 'checkpoint': {'every': 500, 'keep': 2},"
    " 'on_nonfinite': 'skip', 'dtype': 'f64'}";

/* base with `from` (all of it when NULL) replaced by `to`, and ' by ". */
static char *spec_text(const char *from, const char *to) {
    const char *at = from ? strstr(base, from) : base;
    if (!at) fail_msg("the base has no %s", from);
    char *text = malloc(sizeof base + strlen(to) + 1);
    assert_non_null(text);
    sprintf(text, "%.*s%s%s", (int)(at - base), base, to, from ? at + strlen(from) : "");
    for (char *c = text; *c; c++)
        if (*c == '\'') *c = '"';
    return text;
}

static bool read_as(Spec *spec, const char *from, const char *to, Err *err) {
    char *text = spec_text(from, to);
    const bool ok = spec_read(spec, text, strlen(text), err);
    free(text);
    return ok;
}

static void must_read(Spec *spec, const char *from, const char *to) {
    Err err = {0};
    if (!read_as(spec, from, to, &err)) fail_msg("%s: %s: %s", to, err.pointer, err.message);
}

static void test_nets(void **state) {
    (void)state;
    Spec s;
    must_read(&s, "", "");
    assert_int_equal(s.nnets, 2);
    const SpecNet *a = &s.nets[0], *b = &s.nets[1];
    assert_string_equal(a->name, "a");
    assert_int_equal(a->ninputs, 1);
    assert_string_equal(a->inputs[0], "");
    assert_true(a->train && !a->from_run);
    assert_int_equal(a->out, 1);
    assert_int_equal(a->values[0].nlayers, 3);
    assert_int_equal(a->values[0].layers[1].kind, LAYER_linear);
    assert_true(a->values[0].layers[1].linear.out == 3 && a->values[0].layers[1].linear.bias == 1);
    assert_string_equal(a->values[0].layers[1].pointer, "/nets/a/layers/1");
    assert_false(b->train);
    assert_int_equal(b->out, 3);
    assert_int_equal(b->values[0].from[0], 1);
    assert_true(b->values[0].layers[0].linear.bias == 0);
    assert_int_equal(b->values[0].layers[1].rank, 3);
    assert_int_equal(b->values[0].layers[1].dims[2], 3);
    assert_int_equal(b->values[1].nof, 2);
    assert_int_equal(b->values[1].from[1], 2);
    const SpecLayer *by = &b->values[1].layers[0];
    assert_true(by->conv2d_by.stride[0] == 1 && by->conv2d_by.pad[0] == 1 && by->conv2d_by.pad[1] == 1 && by->conv2d_by.pad_value == -1);
    spec_release(&s);
}

static void test_binds(void **state) {
    (void)state;
    static const char *const names[] = {"f", "g", "m", "n", "x"};
    Spec s;
    must_read(&s, "", "");
    assert_int_equal(s.nbinds, 5);
    for (uint32_t i = 0; i < 5; i++) assert_string_equal(s.binds[i].variable, names[i]);
    assert_int_equal(s.binds[0].kind, BIND_WEIGHTS);
    assert_int_equal(s.binds[0].init, INIT_NORMAL);
    assert_true(s.binds[0].deviation == 0.5 && s.binds[0].train);
    assert_int_equal(s.binds[1].kind, BIND_NET_FUNCTION);
    assert_int_equal(s.binds[1].net, 1);
    assert_int_equal(s.binds[2].kind, BIND_NET);
    assert_int_equal(s.binds[2].from[0], 4);          /* the binding x */
    assert_true(s.binds[3].from[0] == UINT32_MAX);    /* the column */
    assert_string_equal(s.binds[3].of[0], "image");
    assert_string_equal(s.binds[4].column, "image");
    uint32_t place[5];
    for (uint32_t i = 0; i < 5; i++) place[s.order[i]] = i;
    assert_true(place[4] < place[2]);
    spec_release(&s);
}

static void test_training(void **state) {
    (void)state;
    Spec s;
    must_read(&s, "", "");
    assert_string_equal(s.name, "small");
    assert_string_equal(s.source, "f (g n) x");
    assert_non_null(s.context);
    assert_string_equal(s.train_data, "some");
    assert_string_equal(s.test_data, "other");
    SpecColumn image = spec_column(&s, "image"), other = spec_column(&s, "else");
    assert_true(image.scale == 0.5 && image.shift == -1 && other.scale == 1 && other.shift == 0);
    assert_int_equal(s.loss, LOSS_L1);
    assert_string_equal(s.target, "y");
    assert_int_equal(s.optimizer.kind, OPTIMIZER_ADAM);
    assert_true(s.optimizer.lr == 0.002 && s.optimizer.beta1 == 0.8 && s.optimizer.beta2 == 0.99 && s.optimizer.eps == 1e-8);
    assert_int_equal(s.schedule.kind, SCHEDULE_STEP);
    assert_true(s.schedule.every == 10 && s.schedule.warmup == 5 && s.schedule.gamma == 0.1);
    assert_true(s.clip_norm == 1.5 && s.batch_size == 32 && s.epochs == 10 && s.steps == 0 && s.seed == 7);
    assert_true(s.evaluate_every == 100 && s.evaluate_rows == 2048 && s.checkpoint_every == 500 && s.checkpoint_keep == 2);
    assert_true(s.metrics[METRIC_LOSS] && s.metrics[METRIC_PSNR] && !s.metrics[METRIC_MAE]);
    assert_true(s.skip_nonfinite && s.dtype == DT_F64);
    spec_release(&s);
}

/* PyTorch's, and ours. */
static void test_defaults(void **state) {
    (void)state;
    Spec s;
    must_read(&s, "{'adam': {'lr': 0.002, 'betas': [0.8, 0.99]}}", "'adamw'");
    assert_true(s.optimizer.lr == 1e-3 && s.optimizer.weight_decay == 1e-2 && s.optimizer.beta1 == 0.9 && s.optimizer.beta2 == 0.999);
    spec_release(&s);
    must_read(&s, ", 'schedule': {'step': {'every': 10, 'warmup': 5}}", "");
    assert_int_equal(s.schedule.kind, SCHEDULE_CONSTANT);
    spec_release(&s);
    must_read(&s, "'evaluate': {'every': 100, 'metrics': ['loss', 'psnr'], 'rows': 2048}, 'checkpoint': {'every': 500, 'keep': 2},"
                  " 'on_nonfinite': 'skip', 'dtype': 'f64'", "'on_nonfinite': 'stop'");
    assert_true(s.evaluate_every == 0 && s.metrics[METRIC_LOSS] && s.checkpoint_every == 0 && !s.skip_nonfinite && s.dtype == DT_F32);
    spec_release(&s);
    must_read(&s, "'relu'", "{'reshape': [1, 3, 1]}, {'max_pool2d': {'kernel': [3, 1]}}, {'softplus': {}}, {'hardtanh': {'max': 6}}");
    const SpecLayer *layers = s.nets[0].values[0].layers;
    const double *kernel = layers[3].max_pool2d.kernel, *stride = layers[3].max_pool2d.stride;
    assert_true(kernel[0] == 3 && kernel[1] == 1 && stride[0] == 3 && stride[1] == 1 && layers[3].max_pool2d.pad[0] == 0);
    assert_true(layers[4].softplus.beta == 1 && layers[4].softplus.threshold == 20 && layers[5].hardtanh.min == -1 && layers[5].hardtanh.max == 6);
    spec_release(&s);
}

typedef struct {
    const char *from, *to, *pointer, *says;
} Refused;

static const Refused refused[] = {
    /* the whole */
    {NULL, "[]", "", "must be an object"},
    {"'seed': 7", "'sed': 7", "/sed", "no key"},
    {"'batch_size': 32, ", "", "", "batch_size"},
    {"'batch_size': 32", "'batch_size': 0", "/batch_size", "from 1 to 65536"},
    {"'batch_size': 32", "'batch_size': 2.5", "/batch_size", "integer"},
    {"'batch_size': 32", "'batch_size': 1e9", "/batch_size", "from 1 to 65536"},
    {"'epochs': 10", "'epochs': 10, 'steps': 5", "", "exactly one"},
    {"'epochs': 10, ", "", "", "exactly one"},
    {"'epochs': 10", "'epochs': 0", "/epochs", "from 1"},
    {"'epochs': 10", "'steps': 0", "/steps", "from 1"},
    {"'clip_norm': 1.5", "'clip_norm': 0", "/clip_norm", "larger than 0"},
    {"'on_nonfinite': 'skip'", "'on_nonfinite': 'ignore'", "/on_nonfinite", "\"stop\", \"skip\""},
    {"'dtype': 'f64'", "'dtype': 'f16'", "/dtype", "\"f32\", \"f64\""},
    /* program */
    {"'source': 'f (g n) x', ", "", "/program", "exactly one"},
    {"'source': 'f (g n) x'", "'source': 'f', 'term': 1", "/program", "exactly one"},
    {"'source': 'f (g n) x'", "'program': 'sha256:0'", "/program", "already"},
    {"'source': 'f (g n) x'", "'source': 1", "/program/source", "string"},
    /* networks */
    {"'a': {'layers'", "'a b': {'layers'", "/nets/a b", "letters"},
    {"'a': {'layers'", "'a/~': {'layers'", "/nets/a~1~0", "letters"},
    {"'flatten'", "'flaten'", "/nets/a/layers/0", "\"flaten\" is not a layer"},
    {"'flatten'", "3", "/nets/a/layers/0", "must be a layer"},
    {"'flatten'", "{'flatten': {}, 'relu': {}}", "/nets/a/layers/0", "one key"},
    {"'flatten'", "{'flatten': {'start': 1}}", "/nets/a/layers/0/flatten/start", "no parameter"},
    {"['flatten', {'linear': {'out': 3}}, 'relu']", "[]", "/nets/a/layers", "array of 1"},
    {"{'linear': {'out': 3}}", "'linear'", "/nets/a/layers/1", "needs \"out\""},
    {"{'linear': {'out': 3}}", "{'linear': 3}", "/nets/a/layers/1/linear", "must be an object"},
    {"{'linear': {'out': 3}}", "{'linear': {'out': 0}}", "/nets/a/layers/1/linear/out", "from 1"},
    {"{'linear': {'out': 3}}", "{'linear': {'out': 'NaN'}}", "/nets/a/layers/1/linear/out", "integer"},
    {"{'linear': {'out': 3}}", "{'linear': {'out': 3, 'bias': 1}}", "/nets/a/layers/1/linear/bias", "true or false"},
    {"'relu'", "{'max_pool2d': {'kernel': [1, 2, 3]}}", "/nets/a/layers/2/max_pool2d/kernel", "pair"},
    {"'relu'", "{'max_pool2d': {'kernel': 2, 'stride': 0}}", "/nets/a/layers/2/max_pool2d/stride", "from 1"},
    {"'relu'", "{'avg_pool2d': {'kernel': 2, 'pad': 2}}", "/nets/a/layers/2/avg_pool2d", "half"},
    {"'relu'", "{'conv2d': {'out': 1, 'kernel': 3, 'pad': -1}}", "/nets/a/layers/2/conv2d/pad", "from 0"},
    {"'relu'", "{'softplus': {'beta': 0}}", "/nets/a/layers/2/softplus", "larger than 0"},
    {"'relu'", "{'hardtanh': {'min': 2}}", "/nets/a/layers/2/hardtanh", "smaller"},
    {"'relu'", "{'leaky_relu': {'slope': 'x'}}", "/nets/a/layers/2/leaky_relu/slope", "number"},
    {"'relu'", "'reshape'", "/nets/a/layers/2", "extents"},
    {"'relu'", "{'reshape': [1, 0]}", "/nets/a/layers/2/reshape/1", "from 1"},
    {"'relu'", "{'reshape': [1, 1, 1, 1, 1, 1, 1, 1, 1]}", "/nets/a/layers/2/reshape", "1 to 8"},
    {"'relu'", "{'reshape': [65536, 65536]}", "/nets/a/layers/2/reshape", "at most"},
    {"'relu'", "'conv2d_by'", "/nets/a/layers/2", "stands alone"},
    {"'of': 'k'", "'of': ['k', 'y']", "/nets/b/let/0/1/of", "take one input"},
    {"'of': 'k'", "'of': 'z'", "/nets/b/let/0/1/of", "before this place"},
    {"'of': ['y', 'w']", "'of': ['y']", "/nets/b/let/1/1/of", "two inputs"},
    {"'of': ['y', 'w']", "'of': ['y', 'v']", "/nets/b/let/1/1/of/1", "no input"},
    {"['z', {", "['w', {", "/nets/b/let/1/0", "stands twice"},
    {"['z', {", "['y', {", "/nets/b/let/1/0", "stands twice"},
    {"['z', {", "[{", "/nets/b/let/1", "[name"},
    {"'inputs': ['y', 'k']", "'inputs': ['y', 'y']", "/nets/b/inputs/1", "stands twice"},
    {"'inputs': ['y', 'k']", "'inputs': []", "/nets/b/inputs", "names"},
    {"'inputs': ['y', 'k'], ", "", "/nets/b", "\"inputs\", \"let\" and \"out\""},
    {"'out': 'z'", "'out': 'v'", "/nets/b/out", "no input"},
    {"'out': 'z'", "'out': 'w'", "/nets/b/let/1", "does not need its value \"z\""},
    {"'out': 'z'", "'out': 'k'", "/nets/b/let/1", "does not need"},
    {"'of': ['y', 'w']", "'of': ['y', 'k']", "/nets/b/let/0", "does not need its value \"w\""},
    {"'inputs': ['y', 'k']", "'inputs': 'y k'", "/nets/b/inputs", "letters"},
    {"'train': false", "'train': 0", "/nets/b/train", "true or false"},
    {"'train': false", "'weights': {'init': 'zeros'}", "/nets/b/weights", "\"run\""},
    {"'train': false", "'weights': {'run': ''}", "/nets/b/weights/run", "1 to"},
    /* bindings */
    {"{'column': 'image'}", "{'column': 'image', 'constant': 1}", "/bind/x", "exactly one"},
    {"{'column': 'image'}", "{}", "/bind/x", "exactly one"},
    {"{'column': 'image'}", "{'column': ''}", "/bind/x/column", "1 to"},
    {"{'column': 'image'}", "{'column': 'image', 'of': 'x'}", "/bind/x/of", "goes with"},
    {"{'column': 'image'}", "{'column': 'image', 'train': false}", "/bind/x/train", "goes with"},
    {"'g': {'net': 'b'}", "'g': {'net': 'c'}", "/bind/g/net", "no network"},
    {"'g': {'net': 'b'}", "'g': {'constant': 1}", "/nets/b", "No variable"},
    {"'g': {'net': 'b'}", "'g': {'net': 'b', 'of': ['image']}", "/bind/g/of", "has 2 inputs, and 1 is given"},
    {"'of': 'x'}", "'of': 'g'}", "/bind/m/of", "no value"},
    {"'of': 'x'}", "'of': ['g']}", "/bind/m/of/0", "no value"},
    {"'n': {'net': 'a', 'of': ['image']}", "'n': {'net': 'a', 'of': ['m']}, 'x2': {'constant': 1}, 'y': {'net': 'a', 'of': ['n']}",
     NULL, NULL},
    {"{'init': 'normal', 'std': 0.5}", "{'init': 'uniform'}", "/bind/f/weights/init", "kaiming"},
    {"{'init': 'normal', 'std': 0.5}", "{'init': 'normal', 'std': 0}", "/bind/f/weights/std", "larger than 0"},
    {"{'init': 'normal', 'std': 0.5}", "{'std': 0.5}", "/bind/f/weights/std", "goes with"},
    {"{'init': 'normal', 'std': 0.5}", "{'run': 'r', 'init': 'ones'}", "/bind/f/weights", "not from both"},
    {"{'init': 'normal', 'std': 0.5}", "{'name': 'r'}", "/bind/f/weights/name", "goes with"},
    {"{'init': 'normal', 'std': 0.5}", "{'run': 'r', 'name': 'optimizer.m.bind.f'}", "/bind/f/weights/name", "begin with"},
    {"{'init': 'normal', 'std': 0.5}", "{'run': 'r', 'name': ''}", "/bind/f/weights/name", "begin with"},
    /* data */
    {"'train': 'some', ", "", "/data", "train"},
    {"'train': 'some'", "'train': 3", "/data/train", "string"},
    {"'scale': 0.5", "'scale': 0", "/data/columns/image/scale", "scale of 0"},
    {"'scale': 0.5", "'factor': 0.5", "/data/columns/image/factor", "no key"},
    {"'columns': {'image'", "'columns': {''", "/data/columns", "1 to 100 bytes"},
    /* loss, optimizer, schedule */
    {"{'l1': {'target': 'y'}}", "'l1'", "/loss", "target"},
    {"{'l1': {'target': 'y'}}", "{'l2': {'target': 'y'}}", "/loss/l2", "there are l1, mse"},
    {"{'l1': {'target': 'y'}}", "{'l1': {}}", "/loss/l1", "target"},
    {"'lr': 0.002", "'lr': 0", "/optimizer/adam/lr", "larger than 0"},
    {"'lr': 0.002", "'lr': -1", "/optimizer/adam/lr", "larger than 0"},
    {"'lr': 0.002", "'lr': 'NaN'", "/optimizer/adam/lr", "number"},
    {"'lr': 0.002", "'momentum': 1", "/optimizer/adam/momentum", "no key"},
    {"'betas': [0.8, 0.99]", "'betas': [0.8, 1]", "/optimizer/adam/betas", "[0, 1)"},
    {"'betas': [0.8, 0.99]", "'betas': [0.8]", "/optimizer/adam/betas", "two numbers"},
    {"'betas': [0.8, 0.99]", "'betas': [0.8, 'NaN']", "/optimizer/adam/betas", "two numbers"},
    {"'betas': [0.8, 0.99]", "'eps': -1", "/optimizer/adam/eps", "negative"},
    {"{'adam': {'lr': 0.002, 'betas': [0.8, 0.99]}}", "{'sgd': {'nesterov': true}}", "/optimizer/sgd/nesterov", "momentum"},
    {"{'adam': {'lr': 0.002, 'betas': [0.8, 0.99]}}", "'lion'", "/optimizer", "sgd, adam, adamw"},
    {"{'step': {'every': 10, 'warmup': 5}}", "'step'", "/schedule", "every"},
    {"{'step': {'every': 10, 'warmup': 5}}", "{'step': {'every': 10, 'gamma': 0}}", "/schedule/step/gamma", "larger than 0"},
    {"{'step': {'every': 10, 'warmup': 5}}", "{'cosine': {'lr_min': 1}}", "/schedule/cosine/lr_min", "learning rate"},
    {"{'step': {'every': 10, 'warmup': 5}}", "{'step': {'every': 0}}", "/schedule/step/every", "from 1 to 1099511627776"},
    {"{'step': {'every': 10, 'warmup': 5}}", "{'step': {'every': 1, 'warmup': 1099511627777}}", "/schedule/step/warmup", "from 0"},
    {"{'step': {'every': 10, 'warmup': 5}}", "{'cosine': {'over': 0}}", "/schedule/cosine/over", "from 1"},
    {"{'step': {'every': 10, 'warmup': 5}}", "'cosine'", NULL, NULL},
    {"{'step': {'every': 10, 'warmup': 5}}", "'warmup'", "/schedule", "over"},
    {"{'step': {'every': 10, 'warmup': 5}}", "{'warmup': {'over': 0}}", "/schedule/warmup/over", "over"},
    {"{'step': {'every': 10, 'warmup': 5}}", "{'linear': {}}", "/schedule/linear", "constant, step"},
    /* evaluation, checkpoints */
    {"'every': 100", "'every': 0", "/evaluate/every", "from 1"},
    {"'every': 100, ", "", "/evaluate", "every"},
    {"'rows': 2048", "'rows': 0", "/evaluate/rows", "at least 1"},
    {"['loss', 'psnr']", "['loss', 'ssim']", "/evaluate/metrics/1", "loss, psnr, accuracy, mae"},
    {"['loss', 'psnr']", "['loss', 'loss']", "/evaluate/metrics/1", "twice"},
    {"['loss', 'psnr']", "[]", "/evaluate/metrics", "at least one"},
    {"'train': 'some', 'test': 'other'", "'train': 'some'", NULL, NULL},
    {"'every': 500", "'every': 0", "/checkpoint/every", "from 1"},
    {"'keep': 2", "'keep': 5000", "/checkpoint/keep", "At most"},
};

static void test_refused(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const Refused *r = &refused[i];
        Spec s;
        Err err = {0};
        const bool ok = read_as(&s, r->from, r->to, &err);
        if (ok != !r->pointer) fail_msg("%s: %s", r->to, ok ? "accepted" : err.message);
        if (ok) {
            spec_release(&s);
            continue;
        }
        if (err.code != ERR_bad_run || strcmp(err.pointer, r->pointer) || !strstr(err.message, r->says))
            fail_msg("%s: %s at %s: %s", r->to, err_name(err.code), err.pointer, err.message);
    }
}

/* Without test data an evaluation of the loss alone says nothing. */
static void test_loss_alone(void **state) {
    (void)state;
    static const struct { const char *test, *metrics, *pointer; } cases[] = {
        {"", "", "/evaluate"}, {"", ", 'metrics': ['loss']", "/evaluate/metrics"}, {"", ", 'metrics': ['mae']", NULL}, {", 'test': 't'", "", NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[600];
        Spec s;
        Err err = {0};
        snprintf(text, sizeof text, "{'program': {'source': 'x'}, 'bind': {'x': {'column': 'a'}}, 'data': {'train': 's'%s}, 'loss': {'l1': {'target': 'y'}},"
                 " 'optimizer': 'sgd', 'batch_size': 1, 'steps': 1, 'evaluate': {'every': 1%s}}", cases[i].test, cases[i].metrics);
        for (char *c = text; *c; c++)
            if (*c == '\'') *c = '"';
        const bool ok = spec_read(&s, text, strlen(text), &err);
        if (ok != !cases[i].pointer) fail_msg("%s: %s", text, ok ? "accepted" : err.message);
        if (ok) spec_release(&s);
        else assert_string_equal(err.pointer, cases[i].pointer);
    }
}

static void test_cycle(void **state) {
    (void)state;
    Spec s;
    Err err = {0};
    assert_false(read_as(&s, "'n': {'net': 'a', 'of': ['image']}", "'n': {'net': 'a', 'of': ['o']}, 'o': {'net': 'a', 'of': ['n']}", &err));
    assert_int_equal(err.code, ERR_bad_run);
    assert_string_equal(err.pointer, "/bind/n/of");
    assert_non_null(strstr(err.message, "made of itself"));
    /* A binding's own name means the column. */
    must_read(&s, "'n': {'net': 'a', 'of': ['image']}", "'n': {'net': 'a', 'of': ['n']}");
    spec_release(&s);
}

static void tell(void *arg, const char *id, const char *pointer) {
    strcat(arg, id);
    strcat(strcat(arg, pointer), " ");
}

static void test_runs(void **state) {
    (void)state;
    Spec s;
    char told[200] = "";
    must_read(&s, "{'init': 'normal', 'std': 0.5}", "{'run': 'r1', 'name': 'bind.other'}");
    spec_each_run(&s, tell, told);
    assert_string_equal(told, "r1/bind/f/weights/run ");
    assert_string_equal(s.binds[0].from_name, "bind.other");
    spec_release(&s);
    told[0] = 0;
    must_read(&s, "'train': false", "'weights': {'run': 'r2'}");
    spec_each_run(&s, tell, told);
    assert_string_equal(told, "r2/nets/b/weights/run ");
    assert_string_equal(s.nets[1].from_name, "nets.b");
    spec_release(&s);
}

static void test_not_json(void **state) {
    (void)state;
    Spec s;
    Err err = {0};
    assert_false(spec_read(&s, "{", 1, &err));
    assert_int_equal(err.code, ERR_bad_json);
    assert_false(read_as(&s, "'seed': 7", "'seed': 7, 'seed': 8", &err));
    assert_int_equal(err.code, ERR_bad_json);
    spec_release(&s);
}

static void test_experiments(void **state) {
    (void)state;
    struct dirent **entries;
    const int n = scandir(EXPERIMENTS, &entries, NULL, alphasort);
    int read = 0;
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char path[512], text[16384];
        snprintf(path, sizeof path, EXPERIMENTS "%s", entries[i]->d_name);
        FILE *in = entries[i]->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (in) {
            Spec s;
            Err err = {0};
            const size_t len = fread(text, 1, sizeof text, in);
            if (!spec_read(&s, text, len, &err)) fail_msg("%s: %s: %s", path, err.pointer, err.message);
            spec_release(&s);
            fclose(in);
            read++;
        }
        free(entries[i]);
    }
    free(entries);
    assert_true(read >= 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nets),     cmocka_unit_test(test_binds), cmocka_unit_test(test_training), cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_refused),  cmocka_unit_test(test_loss_alone), cmocka_unit_test(test_cycle), cmocka_unit_test(test_runs),     cmocka_unit_test(test_not_json),
        cmocka_unit_test(test_experiments),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
