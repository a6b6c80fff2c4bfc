// The operations of test_client_matrix.py with JSch: java -cp jsch.jar Matrix.java PORT USER FIRST|LAST LOCAL REMOTE
import com.jcraft.jsch.ChannelSftp;
import com.jcraft.jsch.JSch;
import com.jcraft.jsch.Session;

public class Matrix {
    public static void main(String[] argv) throws Exception {
        Session session = new JSch().getSession(argv[1], "127.0.0.1", Integer.parseInt(argv[0]));
        session.setPassword(System.getenv("PASSWORD"));
        session.setConfig("StrictHostKeyChecking", "no");
        session.connect(20000);
        ChannelSftp sftp = (ChannelSftp) session.openChannel("sftp");
        sftp.connect();
        String local = argv[3], dir = argv[4];
        if (argv[2].equals("FIRST")) {
            sftp.mkdir(dir);
            sftp.put(local + "/up", dir + "/a", ChannelSftp.OVERWRITE);
            sftp.rename(dir + "/a", dir + "/b");
            sftp.put(local + "/head", dir + "/r", ChannelSftp.OVERWRITE);
            sftp.put(local + "/up", dir + "/r", ChannelSftp.RESUME);
            sftp.chmod(0640, dir + "/b");
            sftp.get(dir + "/b", local + "/down");
            for (Object each : sftp.ls(dir)) System.out.println(((ChannelSftp.LsEntry) each).getFilename());
        } else {
            sftp.rm(dir + "/b");
            sftp.rm(dir + "/r");
            sftp.rmdir(dir);
        }
        sftp.exit();
        session.disconnect();
    }
}
