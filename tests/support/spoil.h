/* Damage to a database, and another process's lock on it. */
#ifndef CAJAL_TEST_SPOIL_H
#define CAJAL_TEST_SPOIL_H
#include <sqlite3.h>
#include <stddef.h>

/* Writes nonsense over the middle of the first page of each table and index of DIR/cajal.db. The schema itself stays readable. */
void spoil_tables(const char *dir);
/* Writes nonsense over `n` leaves of the table, somewhere in the middle. */
void spoil_leaves(const char *dir, const char *table, size_t n);
/* Takes all entries out of an index of two columns, the key's included, which leaves its pages in order. */
void spoil_index(const char *dir, const char *index);
/* Holds DIR/cajal.db against all other writers until sqlite3_close. */
sqlite3 *hold_database(const char *dir);
#endif
