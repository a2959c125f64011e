/* JSON Merge Patch (RFC 7396). */
#ifndef CAJAL_MERGE_PATCH_H
#define CAJAL_MERGE_PATCH_H
#include "schema/formats/json.h"

/* Appends the target with the patch applied. `skip`: a member of the patch that is no part of it; NULL: none. Arrays of numbers are copied to
 * the letter. Both trees are json_parse's, so their depth is bounded (LIMIT_JSON_DEPTH). */
void merge_patch(Buf *out, const Json *target, const Json *patch, const char *skip);
#endif
