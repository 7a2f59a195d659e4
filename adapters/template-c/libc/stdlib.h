/* What the generated bindings need of a C library. */
#ifndef STDLIB_H
#define STDLIB_H

#include <stddef.h>

void *malloc(size_t size);
void *realloc(void *block, size_t size);
void free(void *block);
_Noreturn void abort(void);

/* From here on, what is allocated now stays: the rest of memory is taken back whenever nothing else is in use. */
void keep_allocated(void);

#endif
