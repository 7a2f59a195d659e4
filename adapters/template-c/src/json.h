/* A strict reader of JSON. Every function gives false at a fault, whose place and text stand in the reading. */
#ifndef JSON_H
#define JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct {
    const uint8_t *ptr;
    size_t len;
} bytes_t;

/* One text that is read, and its first fault. */
typedef struct {
    const uint8_t *start;
    size_t fault_at;
    const char *fault_what;
} reading_t;

/* A place in a text. */
typedef struct {
    reading_t *reading;
    const uint8_t *at;
    const uint8_t *end;
} cursor_t;

typedef struct {
    bytes_t key;
    const uint8_t *at;
    const uint8_t *end;
} member_t;

enum { MEMBERS_MOST = 64 };

/* The members of an object, in any order. */
typedef struct {
    reading_t *reading;
    const uint8_t *at;
    size_t count;
    member_t members[MEMBERS_MOST];
} object_t;

/* An exact number: mantissa divided by ten to the power of scale. */
typedef struct {
    int64_t mantissa;
    uint8_t scale;
} number_t;

bool fault(const cursor_t *cursor, const char *what);
bool expect(cursor_t *cursor, char byte, const char *what);
/* Sets `more` when another member or element comes before `close`; `first` must be true before the first one. */
bool next(cursor_t *cursor, char close, bool *first, bool *more);
bool skip(cursor_t *cursor);
/* The text lives until `forget_texts`. */
bool read_text(cursor_t *cursor, const char *what, bytes_t *text);
void forget_texts(void);
bool read_unsigned(cursor_t *cursor, const char *what, uint64_t *value);
bool read_integer(cursor_t *cursor, const char *what, int64_t *value);
/* A number, quoted or not, not below zero. */
bool read_amount(cursor_t *cursor, const char *what, number_t *value);
/* The same as the mantissa at a scale: finer is a fault. */
bool read_amount_at(cursor_t *cursor, const char *what, uint8_t scale, int64_t *mantissa);

bool object_parse(cursor_t *cursor, object_t *object);
/* The object that is the whole text. */
bool object_whole(reading_t *reading, const uint8_t *ptr, size_t len, object_t *object);
/* A cursor at the value of a key, that ends where the value ends. */
bool object_value(const object_t *object, const char *key, cursor_t *value);
/* False for a key that is missing, null or an empty string. */
bool object_is_set(const object_t *object, const char *key);
bool object_text(const object_t *object, const char *key, bytes_t *text);
bool object_unsigned(const object_t *object, const char *key, uint64_t *value);
bool object_integer(const object_t *object, const char *key, int64_t *value);
bool object_amount(const object_t *object, const char *key, number_t *value);

bool bytes_equal(bytes_t bytes, const char *text);

#endif
