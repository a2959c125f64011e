#include "server/http/accept.h"
#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
    Form form;
    const char *type;
} forms[] = {{FORM_JSON, "application/json"}, {FORM_NPY, "application/x-npy"}, {FORM_SAFETENSORS, "application/vnd.safetensors"},
             {FORM_CSV, "text/csv"}, {FORM_SSE, "text/event-stream"}, {FORM_NDJSON, "application/x-ndjson"}};
enum { NFORMS = sizeof forms / sizeof *forms };

const char *form_type(Form form) {
    for (int i = 0; i < NFORMS; i++)
        if (forms[i].form == form) return forms[i].type;
    return "application/octet-stream";
}

/* How well a media range fits a type: 3 exactly, 2 type/any, 1 anything, 0 not. */
static int fits(const char *range, size_t len, const char *type) {
    if (len == 3 && memcmp(range, "*/*", 3) == 0) return 1;
    size_t major = (size_t)(strchr(type, '/') - type) + 1;
    if (len == major + 1 && strncasecmp(range, type, major) == 0 && range[major] == '*') return 2;
    return len == strlen(type) && strncasecmp(range, type, len) == 0 ? 3 : 0;
}

/* The q of one entry, in thousandths; 1000 when it has none. */
static int quality(const char *params, const char *end) {
    for (const char *p = params; p < end; p++) {
        if (*p != ';') continue;
        while (++p < end && isspace((unsigned char)*p)) {}
        if (end - p >= 3 && (*p == 'q' || *p == 'Q') && p[1] == '=') {
            char text[8] = "";
            for (int i = 0; i < 5 && p + 2 + i < end && (isdigit((unsigned char)p[2 + i]) || p[2 + i] == '.'); i++) text[i] = p[2 + i];
            double q = strtod(text, NULL);
            return q >= 1 ? 1000 : (int)(q * 1000);
        }
        p--;
    }
    return 1000;
}

/* The quality that the most specific fitting range gives to a type. */
static int quality_of(const char *accept, const char *type) {
    int best = 0, q = 0;
    for (const char *p = accept; *p;) {
        const char *end = p + strcspn(p, ",");
        while (p < end && isspace((unsigned char)*p)) p++;
        size_t len = strcspn(p, ",; \t");
        int fit = fits(p, len, type);
        if (fit > best) {
            best = fit;
            q = quality(p + len, end);
        }
        p = *end ? end + 1 : end;
    }
    return q;
}

Form accept_choose(const char *accept, unsigned offered) {
    Form chosen = FORM_NONE;
    int best = 0;
    for (int i = 0; i < NFORMS; i++) {
        int q = !(offered & forms[i].form) ? 0 : accept && *accept ? quality_of(accept, forms[i].type) : 1;
        if (q <= best) continue;
        best = q;
        chosen = forms[i].form;
    }
    return chosen;
}
