/* Damage to a database. */
#ifndef CAJAL_TEST_SPOIL_H
#define CAJAL_TEST_SPOIL_H

/* Writes nonsense over the middle of the first page of each table and index of DIR/cajal.db. The schema itself stays readable. */
void spoil_tables(const char *dir);
#endif
