/* The service's table of routes (routes.def): what HTTP offers, and which function of which resource answers. */
#ifndef CAJAL_ROUTES_H
#define CAJAL_ROUTES_H
#include "server/http/call.h"

#define ROUTE(method, path, handler, bodies, forms, query, flags) void handler(Call *call);
#include "server/routes.def"
#undef ROUTE

extern const RouteTable service_routes;
#endif
