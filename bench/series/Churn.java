import java.util.ArrayList;
import java.util.List;

/** Makes garbage, keeps some of it, and grows: java Churn LIVE_MIB GARBAGE_MIB_A_SECOND LEAK_KIB_A_SECOND. */
public class Churn {
    private static final int BLOCK = 16 * 1024;
    private static final int TURNS = 20;

    public static void main(String[] arguments) throws InterruptedException {
        int live = Integer.parseInt(arguments[0]) * 1024 * 1024 / BLOCK;
        int garbage = Integer.parseInt(arguments[1]) * 1024 * 1024 / BLOCK / TURNS;
        int leak = Integer.parseInt(arguments[2]) * 1024 / TURNS;
        byte[][] ring = new byte[Math.max(live, 1)][];
        List<byte[]> leaked = new ArrayList<>();
        for (int next = 0; ; ) {
            for (int block = 0; block < garbage; block++) {
                next = (next + 1) % ring.length;
                ring[next] = new byte[BLOCK];
            }
            leaked.add(new byte[leak]);
            Thread.sleep(1000 / TURNS);
        }
    }
}
