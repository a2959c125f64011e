#include "server/routes.h"

#define TENSOR_FORMS (FORM_JSON | FORM_NPY | FORM_SAFETENSORS)
#define TENSOR_BODIES (BODY_JSON | BODY_BINARY)

static const Route rows[] = {
#define ROUTE(method, path, handler, bodies, forms, query, flags) {METHOD_##method, path, handler, bodies, forms, query, flags},
#include "server/routes.def"
#undef ROUTE
};

const RouteTable service_routes = {rows, sizeof rows / sizeof *rows};
