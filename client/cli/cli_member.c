#include "client/cli/cli.h"

const cJSON *cli_member(const cJSON *object, const char *key) { return cJSON_GetObjectItemCaseSensitive(object, key); }

const char *cli_member_text(const cJSON *object, const char *key) {
    const char *text = cJSON_GetStringValue(cli_member(object, key));
    return text ? text : "";
}

double cli_member_number(const cJSON *object, const char *key) {
    const cJSON *v = cli_member(object, key);
    return cJSON_IsNumber(v) ? v->valuedouble : 0;
}
