/* Strings and decimal numbers. */
#ifndef TEXT_H
#define TEXT_H

#include "json.h"

/* Reads the string whose quote `at` is at: a part of the text itself where it holds no escape. On a fault gives what was expected, with
 * `at` at the fault. */
const char *text_read(const uint8_t **at, const uint8_t *end, bytes_t *text);

/* Ten times the value plus a digit; false where that does not fit. */
bool append_digit(uint64_t *value, uint64_t digit);
/* The value times a positive factor; false where that does not fit. */
bool multiply(int64_t *value, int64_t factor);

/* Exact, with the smallest scale that holds the number; false for what is no number or does not fit. */
bool decimal_parse(bytes_t text, number_t *number);
/* The mantissa at another scale; false where a place that is not zero would be lost, or the mantissa does not fit. */
bool decimal_rescale(number_t number, uint8_t scale, int64_t *mantissa);

#endif
