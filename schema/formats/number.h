/* Decimal numbers: JSON's spelling to doubles and back, whatever the locale.
 *
 * Reading rounds to the nearest double, ties to even. Printing writes the fewest digits that read back to the same double (for
 * floats: to the same float, read directly or by way of a double), plain from 1e-5 to below 1e17, else with an exponent. */
#ifndef CAJAL_NUMBER_H
#define CAJAL_NUMBER_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A scanned number: ±digits · 10^exponent, unless `cut`: then it has more digits than fit, and its text is read again. */
typedef struct {
    const char *begin, *end;
    uint64_t digits;
    int64_t exponent;
    int64_t power; /* the exponent as written, 0 without one */
    bool negative, cut;
} Decimal;

/* Reads one number by JSON's grammar at `at`; returns where it ends, NULL when there is none. */
const char *number_scan(const char *at, const char *end, Decimal *out);
/* Infinite when beyond the doubles. */
double number_value(const Decimal *d);
/* It is a natural below 2^64, exactly. */
bool number_natural(const Decimal *d, uint64_t *out);
/* Its double is an integer of at most 2^53, and it is not that integer: it was rounded to one. */
bool number_rounds_to_integer(const Decimal *d);

enum { NUMBER_ROOM = 32 };
/* v finite. Returns the length; no NUL is written. */
size_t number_print(char out[NUMBER_ROOM], double v);
size_t number_print_float(char out[NUMBER_ROOM], float v);
#endif
