using Mesh.Testing;

namespace Mesh.EndToEnd;

/// <summary>The executable at its start: settings that are wrong, and its commands.</summary>
public sealed class SettingsTests
{
    [Theory]
    [InlineData("PROXY_MODE", "sideways", "PROXY_MODE is 'sideways'; allowed: shared, dedicated")]
    [InlineData("PROXY_WORKLOAD_INFO", "shop/web", "PROXY_WORKLOAD_INFO is 'shop/web'; allowed: namespace/name/serviceAccount")]
    [InlineData("PROXY_WORKLOAD_INFO", "", "PROXY_WORKLOAD_INFO is not set; it must be namespace/name/serviceAccount")]
    [InlineData("XDS_ADDRESS", "http://istiod:15012", "XDS_ADDRESS is 'http://istiod:15012'; allowed: host:port, https://host:port")]
    [InlineData("LOCAL_XDS_PATH", "/nowhere/mesh.yaml", "LOCAL_XDS_PATH is '/nowhere/mesh.yaml'; allowed: the path of a YAML file that can be read")]
    [InlineData("UNSTABLE_ENABLE_SOCKS5", "yes", "UNSTABLE_ENABLE_SOCKS5 is 'yes'; allowed: true, false")]
    [InlineData("LOG_FORMAT", "xml", "LOG_FORMAT is 'xml'; allowed: plain, json")]
    [InlineData("MESH_LISTEN_ADDRESS", "localhost", "MESH_LISTEN_ADDRESS is 'localhost'; allowed: IPv4 and IPv6 addresses of this machine")]
    [InlineData("MESH_LISTEN_ADDRESS", "192.0.2.1", "MESH_LISTEN_ADDRESS is '192.0.2.1'; allowed: IPv4 and IPv6 addresses of this machine")]
    [InlineData("MESH_DEVELOPMENT_CA", "/proc/nowhere", "MESH_DEVELOPMENT_CA is '/proc/nowhere'; allowed: a directory")]
    [InlineData("POOL_MAX_STREAMS_PER_CONNECTION", "0", "POOL_MAX_STREAMS_PER_CONNECTION is '0'; allowed: whole numbers from 1 to")]
    [InlineData("CONNECTION_TERMINATION_DEADLINE", "soon", "CONNECTION_TERMINATION_DEADLINE is 'soon'; allowed: durations like 5m, 90s, 1h30m")]
    public async Task A_wrong_setting_is_refused_with_its_name_its_value_and_what_is_allowed(string name, string value, string message)
    {
        using var directory = new TemporaryDirectory();
        var file = Path.Combine(directory.Path, "mesh.yaml");
        await File.WriteAllTextAsync(file, "workloads: []");
        var settings = new Dictionary<string, string>
        {
            ["PROXY_MODE"] = "dedicated",
            ["PROXY_WORKLOAD_INFO"] = "shop/web-0/web",
            ["LOCAL_XDS_PATH"] = file,
            ["MESH_DEVELOPMENT_CA"] = Path.Combine(directory.Path, "ca"),
            ["MESH_LISTEN_ADDRESS"] = "127.79.0.1",
            [name] = value,
        };
        await using var ztunnel = Peer.Start(settings, "dotnet", Executable.PathOf("Mesh.Ztunnel"));

        Assert.Equal(1, await ztunnel.ExitAsync());
        Assert.Contains(message, ztunnel.Output, StringComparison.Ordinal);
        Assert.DoesNotContain("Unhandled exception", ztunnel.Output, StringComparison.Ordinal);
    }

    [Fact]
    public async Task A_port_that_is_taken_ends_the_start()
    {
        await using var nodes = await TwoNodes.StartAsync();
        var settings = new Dictionary<string, string>
        {
            ["PROXY_MODE"] = "dedicated",
            ["PROXY_WORKLOAD_INFO"] = "shop/web-0/web",
            ["LOCAL_XDS_PATH"] = nodes.File,
            ["MESH_DEVELOPMENT_CA"] = nodes.CertificateDirectory,
            ["MESH_LISTEN_ADDRESS"] = nodes.CartAddress.ToString(),
        };
        await using var second = Peer.Start(settings, "dotnet", Executable.PathOf("Mesh.Ztunnel"));

        Assert.Equal(1, await second.ExitAsync());
        Assert.Contains("address already in use", second.Output, StringComparison.OrdinalIgnoreCase);
    }

    [Fact]
    public async Task A_file_with_faults_is_refused_with_their_places()
    {
        using var directory = new TemporaryDirectory();
        var file = Path.Combine(directory.Path, "mesh.yaml");
        await File.WriteAllTextAsync(file, "workloads:\n- {namespace: shop, workloadIps: [10.0.0.300]}\n");
        var settings = new Dictionary<string, string>
        {
            ["PROXY_MODE"] = "dedicated",
            ["PROXY_WORKLOAD_INFO"] = "shop/web-0/web",
            ["LOCAL_XDS_PATH"] = file,
            ["MESH_DEVELOPMENT_CA"] = Path.Combine(directory.Path, "ca"),
            ["MESH_LISTEN_ADDRESS"] = "127.79.0.2",
        };
        await using var ztunnel = Peer.Start(settings, "dotnet", Executable.PathOf("Mesh.Ztunnel"));

        Assert.Equal(1, await ztunnel.ExitAsync());
        Assert.Contains($"{file}:2:35: an address of 'workloadIps' is '10.0.0.300'; allowed are IPv4 and IPv6 addresses", ztunnel.Output, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("help", 0, "PROXY_WORKLOAD_INFO")]
    [InlineData("--help", 0, "MESH_DEVELOPMENT_CA")]
    [InlineData("version", 0, ".")]
    [InlineData("dance", 1, "unknown command 'dance'; allowed are proxy (the default), version and help")]
    public async Task Its_commands_answer(string command, int status, string text)
    {
        await using var ztunnel = Peer.Start("dotnet", Executable.PathOf("Mesh.Ztunnel"), command);

        Assert.Equal(status, await ztunnel.ExitAsync());
        Assert.Contains(text, ztunnel.Output, StringComparison.Ordinal);
    }
}

/// <summary>A directory that goes with the test.</summary>
internal sealed class TemporaryDirectory : IDisposable
{
    public string Path { get; } = Directory.CreateTempSubdirectory("mesh-").FullName;

    public void Dispose() => Directory.Delete(Path, recursive: true);
}
