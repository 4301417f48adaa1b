import java.math.BigInteger;
import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.*;
import java.util.stream.*;

/** Work for a Java machine: its translators, its threads, its exceptions by faults. */
public class Compute {
    static void show(Object... what) {
        System.out.println(Stream.of(what).map(String::valueOf).collect(Collectors.joining(" ")));
    }

    static long fibonacci(int n) {
        return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
    }

    static long xorshift(long x, long add) {
        for (int i = 0; i < 2000000; i++) {
            x ^= x << 13;
            x ^= x >>> 7;
            x ^= x << 17;
            x += add;
        }
        return x;
    }

    static boolean isPrime(int n) {
        for (int k = 2; k * k <= n; k++)
            if (n % k == 0)
                return false;
        return n > 1;
    }

    /** Null pointers and divisions by zero are faults of the processor to the Java machine. */
    static int exceptions() {
        int sum = 0;
        for (int i = 0; i < 20000; i++) {
            try {
                Object none = i % 3 == 0 ? null : "";
                none.toString();
                int[] two = new int[2];
                two[i % 4] = 1;
                sum += 10 / (i % 5);
            } catch (NullPointerException | ArrayIndexOutOfBoundsException | ArithmeticException e) {
                sum--;
            }
        }
        return sum;
    }

    static long threads() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(4);
        List<Future<Long>> results = new ArrayList<>();
        for (int t = 0; t < 16; t++) {
            final int seed = t;
            results.add(pool.submit(() -> xorshift(seed, seed)));
        }
        long all = 0;
        for (Future<Long> result : results)
            all ^= result.get();
        pool.shutdown();
        return all;
    }

    public static void main(String[] arguments) throws Exception {
        show("fibonacci", fibonacci(32));
        double sum = 0;
        for (int i = 1; i < 3000000; i++)
            sum += StrictMath.sin(i) * Math.sqrt(i) / i;
        show("doubles", sum);
        Map<String, Integer> counts = new HashMap<>();
        for (int i = 0; i < 300000; i++)
            counts.merge("k" + i * 31 % 4099, i, Integer::sum);
        show("map", counts.values().stream().mapToLong(v -> v).sum());
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        byte[] bytes = new byte[1 << 20];
        for (int i = 0; i < 20; i++) {
            bytes[i] = (byte) i;
            digest.update(bytes);
        }
        show("sha", new BigInteger(1, digest.digest()).toString(16));
        show("big", BigInteger.TWO.pow(9689).subtract(BigInteger.ONE).mod(BigInteger.valueOf(1000000007)));
        show("threads", threads());
        show("primes", IntStream.range(0, 500000).parallel().filter(Compute::isPrime).count());
        show("exceptions", exceptions());
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < 100000; i++)
            text.append(Integer.toHexString(i * 2654435));
        show("text", text.toString().hashCode());
    }
}
