#include "schema/formats/json_hint.h"
#include "schema/formats/lookalike.h"
#include <stdio.h>
#include <string.h>

/* Words of Python, JavaScript and YAML. */
static const struct {
    const char *word, *hint;
} words[] = {
    {"NaN", "write it as the string \"NaN\""},
    {"nan", "write it as the string \"NaN\""},
    {"-NaN", "write it as the string \"NaN\""},
    {"-nan", "write it as the string \"NaN\""},
    {"Infinity", "write it as the string \"Infinity\""},
    {"inf", "write it as the string \"Infinity\""},
    {"-Infinity", "write it as the string \"-Infinity\""},
    {"-inf", "write it as the string \"-Infinity\""},
    {"True", "JSON writes true"},
    {"TRUE", "JSON writes true"},
    {"False", "JSON writes false"},
    {"FALSE", "JSON writes false"},
    {"None", "JSON writes null"},
    {"NULL", "JSON writes null"},
    {"Null", "JSON writes null"},
    {"undefined", "JSON writes null, or leaves the key out"},
};
enum { NWORDS = sizeof words / sizeof *words };

static const struct {
    char c;
    bool after_comma;
    const char *hint;
} characters[] = {
    {'\'', false, "JSON has strings in double quotes"},
    {'`', false, "JSON has strings in double quotes"},
    {'/', false, "JSON has no comments"},
    {'#', false, "JSON has no comments"},
    {'+', false, "JSON's numbers have no `+`"},
    {'.', false, "JSON's numbers have a digit before the point"},
    {']', true, "the comma before it is one too many"},
    {'}', true, "the comma before it is one too many"},
    {'\0', false, "JSON comes in UTF-8"},
    {(char)0xFE, false, "JSON comes in UTF-8"},
    {(char)0xFF, false, "JSON comes in UTF-8"},
};
enum { NCHARACTERS = sizeof characters / sizeof *characters };

static bool in_word(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-'; }

static const char *hint_of_word(const char *at, const char *end) {
    size_t len = 0;
    while (at + len < end && in_word(at[len])) len++;
    for (size_t i = 0; i < NWORDS; i++)
        if (strlen(words[i].word) == len && memcmp(words[i].word, at, len) == 0) return words[i].hint;
    return NULL;
}

static const char *hint_of_character(char c, bool after_comma) {
    for (size_t i = 0; i < NCHARACTERS; i++)
        if (characters[i].c == c && (after_comma || !characters[i].after_comma)) return characters[i].hint;
    return NULL;
}

void json_hint(const char *at, const char *end, bool after_comma, char what[JSON_HINT_ROOM], char hint[JSON_HINT_ROOM]) {
    Lookalike found;
    *what = *hint = 0;
    if (at >= end) return;
    if (lookalike_find(at, end, &found)) {
        snprintf(what, JSON_HINT_ROOM, "%s,", found.what);
        snprintf(hint, JSON_HINT_ROOM, "%s", found.instead);
        return;
    }
    const char *known = hint_of_word(at, end);
    if (!known) known = hint_of_character(*at, after_comma);
    snprintf(hint, JSON_HINT_ROOM, "%s", known ? known : "");
}
