#define FROM_HEADER 0x2a
enum colour { RED, GREEN = 7 };
struct from_header { char name[16]; enum colour colour; };
