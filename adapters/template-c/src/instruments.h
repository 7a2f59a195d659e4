#ifndef INSTRUMENTS_H
#define INSTRUMENTS_H

#include "contract.h"

/* The feed's part of the venue's list, in the order of symbols. */
bool list_instruments(const feed_t *feed, bytes_t body, instruments_t *list, refusal_t *refusal);

#endif
