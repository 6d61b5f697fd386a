// A small program to look at: orders of random sizes, priced through two paths.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <string>
#include <vector>
#include <unistd.h>

namespace shop {

struct Order {
    std::string customer;
    std::vector<uint32_t> prices;
};

class Pricing {
public:
    virtual ~Pricing() = default;
    virtual uint64_t total(const Order &order) = 0;
};

template <typename Discount> class Discounted : public Pricing {
public:
    __attribute__((noinline)) uint64_t total(const Order &order) override;
};

struct None {
    static uint64_t apply(uint64_t sum) { return sum; }
};
struct Tenth {
    static uint64_t apply(uint64_t sum) { return sum - sum / 10; }
};

__attribute__((noinline)) uint64_t sum_of(const Order &order, size_t items) {
    uint64_t sum = 0;
    for (size_t i = 0; i < items; i++)
        sum += order.prices[i];
    asm volatile("" : "+r"(sum));
    return sum;
}

template <typename Discount> uint64_t Discounted<Discount>::total(const Order &order) {
    return Discount::apply(sum_of(order, order.prices.size()));
}

} // namespace shop

int main() {
    shop::Discounted<shop::None> plain;
    shop::Discounted<shop::Tenth> loyal;
    const char *names[] = {"ada", "barbara", "grace"};
    std::map<std::string, uint64_t> revenue;
    for (int i = 0; i < 3000; i++) {
        shop::Order order{names[rand() % 3], std::vector<uint32_t>(1 + rand() % (1 << (rand() % 12)))};
        for (auto &price : order.prices)
            price = rand() % 100;
        shop::Pricing &pricing = i % 3 ? static_cast<shop::Pricing &>(plain) : loyal;
        revenue[order.customer] += pricing.total(order);
        if (i % 100 == 0)
            usleep(10000);
    }
    return revenue.size() == 3 ? 0 : 1;
}
