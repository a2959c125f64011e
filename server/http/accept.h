/* Content negotiation: which of the forms a route offers an Accept header prefers (RFC 9110 §12.5.1). */
#ifndef CAJAL_ACCEPT_H
#define CAJAL_ACCEPT_H

typedef enum {
    FORM_NONE = 0,
    FORM_JSON = 1,
    FORM_NPY = 2,
    FORM_SAFETENSORS = 4,
    FORM_CSV = 8,
    FORM_SSE = 16,
    FORM_NDJSON = 32
} Form;
/* `offered` is a set of forms. No header, and equal preference: the first in this order. FORM_NONE: nothing fits. */
Form accept_choose(const char *accept, unsigned offered);
const char *form_type(Form form); /* media type */
#endif
