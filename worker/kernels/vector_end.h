/* The end of a template that includes vector.h. */
#undef LANES
#undef SINGLE
#undef INLINE
#undef REAL_OF
