#include "server/http/problem.h"
#include <stdlib.h>
#include <string.h>

static void put_field(Buf *out, const char *key, const char *value) {
    buf_printf(out, ",\"%s\":", key);
    json_put_string(out, value);
}

static void put_head(Buf *out, const char *request_id, ErrCode code, const char *detail) {
    buf_printf(out, "{\"type\":\"/errors/%s\"", err_name(code));
    put_field(out, "title", err_title(code));
    buf_printf(out, ",\"status\":%d", err_status(code));
    put_field(out, "detail", detail && *detail ? detail : err_title(code));
    put_field(out, "code", err_name(code));
    put_field(out, "request_id", request_id);
}

static void put_diagnostic(Buf *out, ErrCode code, const char *message, const Located *at, const char *hint) {
    buf_puts(out, "{\"code\":");
    json_put_string(out, err_name(code));
    put_field(out, "message", message);
    if (at->pointer) put_field(out, "path", at->pointer);
    else if (at->line) buf_printf(out, ",\"line\":%u,\"column\":%u,\"end_column\":%u", at->line, at->column, at->end_column);
    if (hint) put_field(out, "hint", hint);
    buf_putc(out, '}');
}

void problem_put(Buf *out, const char *request_id, ErrCode code, const char *detail, const char *pointer) {
    put_head(out, request_id, code, detail);
    if (*pointer) {
        buf_puts(out, ",\"diagnostics\":[");
        put_diagnostic(out, code, detail, &(Located){.pointer = (char *)pointer}, NULL);
        buf_putc(out, ']');
    }
    buf_putc(out, '}');
}

void problem_put_diag(Buf *out, const char *request_id, const Cx *cx, const Program *p, const Diag *diag) {
    put_head(out, request_id, diag->code, diag->message);
    buf_puts(out, ",\"diagnostics\":[");
    Located at = {0}, other = {0};
    if (p) {
        at = syntax_locate(p, diag->at);
        other = syntax_locate(p, diag->other);
    }
    put_diagnostic(out, diag->code, diag->message, &at, diag->hint);
    if (other.pointer || other.line) {
        buf_putc(out, ',');
        put_diagnostic(out, diag->code, "The other place.", &other, NULL);
    }
    buf_puts(out, "],\"rendered\":");
    Buf rendered;
    buf_init(&rendered);
    syntax_render(&rendered, cx, p, diag);
    json_put_string(out, buf_text(&rendered));
    buf_release(&rendered);
    buf_putc(out, '}');
    free(at.pointer);
    free(other.pointer);
}
