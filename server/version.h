/* The service's version, as /version and --version give it. */
#ifndef CAJAL_VERSION_H
#define CAJAL_VERSION_H
#define CAJAL_VERSION "0.1.0"
#endif
