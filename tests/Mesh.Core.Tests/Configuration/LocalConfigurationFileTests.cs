using System.Diagnostics;
using Mesh.Core.Workloads;
using Mesh.Testing;

namespace Mesh.Core.Configuration;

public sealed class LocalConfigurationFileTests : IDisposable
{
    private readonly DirectoryInfo _directory = Directory.CreateTempSubdirectory("mesh-configuration-");
    private readonly MeshState _mesh = new();
    private readonly string _path;

    public LocalConfigurationFileTests() => _path = Path.Combine(_directory.FullName, "mesh.yaml");

    public void Dispose() => _directory.Delete(recursive: true);

    [Fact]
    public async Task An_edit_is_picked_up()
    {
        await using var file = Open(1);
        Assert.Equal(1, _mesh.Current.WorkloadCount);
        await File.WriteAllTextAsync(_path, Pods(3));

        await Eventually.Until("three workloads", () => _mesh.Current.WorkloadCount == 3);
        Assert.Null(file.LastError);
    }

    [Fact]
    public async Task A_file_put_in_place_of_the_old_one_is_picked_up()
    {
        await using var file = Open(1);
        await File.WriteAllTextAsync(_path + ".new", Pods(2));
        File.Move(_path + ".new", _path, overwrite: true);

        await Eventually.Until("two workloads", () => _mesh.Current.WorkloadCount == 2);
    }

    [Fact]
    public async Task A_bad_edit_keeps_the_last_good_state_and_says_where_the_fault_is()
    {
        await using var file = Open(2);
        await File.WriteAllTextAsync(_path, "workloads:\n- {namespace: ns, workloadIps: [nowhere]}\n");
        await Eventually.Until("the fault is told", () => file.LastError is not null);
        Assert.Equal($"{_path}:2:33: an address of 'workloadIps' is 'nowhere'; allowed are IPv4 and IPv6 addresses", file.LastError);
        Assert.Equal(2, _mesh.Current.WorkloadCount);

        await File.WriteAllTextAsync(_path, Pods(4));
        await Eventually.Until("the mended file is read", () => _mesh.Current.WorkloadCount == 4 && file.LastError is null);
    }

    [Fact]
    public async Task A_file_that_is_gone_keeps_the_last_good_state_until_it_is_back()
    {
        await using var file = Open(1);
        await File.WriteAllTextAsync(_path, Pods(2));
        await Eventually.Until("the edit is read", () => _mesh.Current.WorkloadCount == 2);
        File.Delete(_path);
        await Eventually.Until("the loss is told", () => file.LastError is not null);
        Assert.Equal(2, _mesh.Current.WorkloadCount);
        await File.WriteAllTextAsync(_path, Pods(3));
        await Eventually.Until("the new file is read", () => _mesh.Current.WorkloadCount == 3 && file.LastError is null);
    }

    // Kubernetes mounts a ConfigMap as mesh.yaml -> ..data/mesh.yaml, ..data -> a directory, and replaces ..data by a rename.
    [Fact]
    public async Task A_symbolic_link_that_leads_elsewhere_is_picked_up()
    {
        Version("..1", 1);
        File.CreateSymbolicLink(Path.Combine(_directory.FullName, "..data"), "..1");
        File.CreateSymbolicLink(_path, Path.Combine("..data", "mesh.yaml"));
        await using var file = LocalConfigurationFile.Open(_path, _mesh);

        Version("..2", 2);
        File.CreateSymbolicLink(Path.Combine(_directory.FullName, "..data_tmp"), "..2");
        using var rename = Process.Start("mv", ["-T", Path.Combine(_directory.FullName, "..data_tmp"), Path.Combine(_directory.FullName, "..data")]);
        await rename.WaitForExitAsync().InTime();

        await Eventually.Until("the other directory is read", () => _mesh.Current.WorkloadCount == 2);
    }

    [Fact]
    public async Task A_file_that_is_cut_and_then_written_never_empties_the_mesh()
    {
        var seen = new List<int>();
        await using var file = Open(2);
        _mesh.Changed += (_, change) => seen.Add(change.After.WorkloadCount);
        for (var count = 3; count < 6; count++)
        {
            await using (var stream = new FileStream(_path, FileMode.Create, FileAccess.Write))
            {
                await stream.FlushAsync();
                await Task.Yield();
                await stream.WriteAsync(System.Text.Encoding.UTF8.GetBytes(Pods(count)));
            }

            var expected = count;
            await Eventually.Until($"{expected} workloads", () => _mesh.Current.WorkloadCount == expected);
        }

        Assert.DoesNotContain(0, seen);
    }

    [Fact]
    public async Task An_emptied_file_keeps_the_last_good_state()
    {
        await using var file = Open(2);
        await File.WriteAllTextAsync(_path, "");
        await Eventually.Until("the fault is told", () => file.LastError is not null);
        Assert.StartsWith($"{_path}:1:1: the file is empty", file.LastError);
        Assert.Equal(2, _mesh.Current.WorkloadCount);
    }

    [Fact]
    public async Task Once_disposed_it_reads_no_more_and_disposing_twice_is_harmless()
    {
        var file = Open(1);
        await file.DisposeAsync();
        await file.DisposeAsync();
        Assert.Equal(1, _mesh.Current.WorkloadCount);
    }

    [Fact]
    public void A_file_with_faults_or_none_at_all_cannot_be_opened()
    {
        Assert.Throws<FileNotFoundException>(() => LocalConfigurationFile.Open(_path, _mesh));
        File.WriteAllText(_path, "workloads: x");
        Assert.Throws<ConfigurationException>(() => LocalConfigurationFile.Open(_path, _mesh));
        Assert.Equal(0, _mesh.Current.WorkloadCount);
    }

    private static string Pods(int count) =>
        "workloads:\n" + string.Concat(Enumerable.Range(1, count).Select(i => $"- {{name: p{i}, namespace: ns, workloadIps: [10.0.0.{i}]}}\n"));

    private LocalConfigurationFile Open(int pods)
    {
        File.WriteAllText(_path, Pods(pods));
        return LocalConfigurationFile.Open(_path, _mesh);
    }

    private void Version(string name, int pods) =>
        File.WriteAllText(Path.Combine(Directory.CreateDirectory(Path.Combine(_directory.FullName, name)).FullName, "mesh.yaml"), Pods(pods));
}
