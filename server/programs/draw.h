/* A neuron graph as a picture: SVG, one layer a row, edges from top to bottom. */
#ifndef CAJAL_DRAW_H
#define CAJAL_DRAW_H
#include "schema/graph/graph.h"

/* Appends the SVG. A graph of more nodes than a picture can show is drawn as its first ones, and says so. */
void draw_svg(Buf *out, const Graph *g);
#endif
