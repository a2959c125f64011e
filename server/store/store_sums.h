/* Checksums of rows, as functions that statements and migrations call: a row is written together with its sum, and read together with whether it
 * still has it. For store*.c; what else opens the database to write (tests) registers them, too.
 *
 *     blake(…)        BLAKE2b-128 of the values' bytes, one after the other
 *     blake_parts(…)  the same, each value with its length before it: no two rows of different values have the same bytes. A number is its 8
 *                     bytes (-0.0 as 0.0, which is what a column keeps of it); NULL has a length of its own */
#ifndef CAJAL_STORE_SUMS_H
#define CAJAL_STORE_SUMS_H
#include <sqlite3.h>
#include <stdbool.h>

bool store_sums_register(sqlite3 *db);
#endif
